"""The budget of encoded bytes: a share is held as long as the image is, and nobody overtakes."""

from __future__ import annotations

import asyncio

import pytest

from worker.images.budget import ByteBudget


async def test_a_share_is_free_again_when_the_image_is_gone() -> None:
    budget = ByteBudget(100)
    await budget.take(100)
    image = budget.hold(b"x" * 100, 100)
    assert not budget.take_now(1)
    del image
    assert budget.take_now(100)


async def test_what_an_image_did_not_need_is_free_at_once() -> None:
    budget = ByteBudget(100)
    await budget.take(100)
    image = budget.hold(b"x" * 30, 100)
    assert budget.take_now(70)
    assert image.data == b"x" * 30


async def test_a_small_share_does_not_overtake_a_large_one() -> None:
    budget = ByteBudget(100)
    await budget.take(50)
    large = asyncio.ensure_future(budget.take(80))
    await asyncio.sleep(0)
    assert not budget.take_now(10)
    budget.give_back(50)
    await large
    assert budget.take_now(20)


async def test_whoever_stops_waiting_holds_nobody_up() -> None:
    budget = ByteBudget(100)
    await budget.take(50)
    large = asyncio.ensure_future(budget.take(80))
    small = asyncio.ensure_future(budget.take(10))
    await asyncio.sleep(0)
    large.cancel()
    await small
    assert budget.take_now(40)


async def test_a_share_given_in_the_moment_of_a_cancellation_is_not_lost() -> None:
    budget = ByteBudget(100)
    await budget.take(100)
    waiting = asyncio.ensure_future(budget.take(100))
    await asyncio.sleep(0)
    budget.give_back(100)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.take_now(100)
