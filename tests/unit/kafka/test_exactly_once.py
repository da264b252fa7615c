"""Exactly-once: the state machine in both orders."""

from __future__ import annotations

from hypothesis import settings

from tests.unit.kafka.once import Once


class OnceOutOfOrder(Once):
    in_order = False


# 32,000 steps.
for once in (Once, OnceOutOfOrder):
    once.TestCase.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
TestOnce = Once.TestCase
TestOnceOutOfOrder = OnceOutOfOrder.TestCase
