"""How far a partition is done, and what of it travels in a commit."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.progress import METADATA_LIMIT, Progress, parse

ID = "kabJm1RwRU+Gulb4gm5u/Q"
"""As Kafka writes it: 22 characters of base64, without padding."""
offsets = st.sets(st.integers(0, 300), max_size=80)
topic_ids = st.none() | st.binary(min_size=16, max_size=16).map(lambda octets: b64encode(octets).decode().rstrip("="))


def spans(numbers: set[int]) -> list[tuple[int, int]]:
    return [(number, number + 1) for number in numbers]


@given(
    base=st.integers(0, 2**60),
    done=offsets,
    until=st.integers(0, 2**62),
    asked=st.from_regex("[a-z0-9]+", fullmatch=True),
    topic_id=topic_ids,
)
def test_what_is_committed_is_read_as_it_was(
    base: int, done: set[int], until: int, asked: str, topic_id: str | None
) -> None:
    progress = Progress(base, until=until, asked=asked, topic_id=topic_id)
    progress = progress.after((base + start, base + end) for start, end in spans(done))
    assert parse(progress.base, progress.metadata) == progress
    assert progress.metadata.isascii()


@given(first=offsets, then=offsets)
def test_it_holds_what_was_done_and_what_is_before_its_base(first: set[int], then: set[int]) -> None:
    progress = Progress(10).after(spans(first)).after(spans(then))
    done = first | then | set(range(10))
    assert {offset for offset in range(302) if offset in progress} == done
    assert progress.base == next(offset for offset in range(10, 302) if offset not in done)
    assert progress.ahead == sum(offset > progress.base for offset in done)


@given(done=offsets, more=st.integers(0, 300))
def test_its_spans_are_sorted_and_apart_and_it_is_the_same_in_whatever_order_they_came(
    done: set[int], more: int
) -> None:
    at_once = Progress(0).after(spans(done | {more}))
    assert at_once == Progress(0).after(spans(done)).after([(more, more + 1)])
    edges = [at_once.base, *(edge for span in at_once.done for edge in span)]
    assert edges == sorted(set(edges))


@given(done=offsets, offset=st.integers(0, 302))
def test_what_is_left_before_an_offset_is_what_is_not_done_there(done: set[int], offset: int) -> None:
    progress = Progress(10).after(spans(done))
    assert progress.left_before(offset) == sum(each not in progress for each in range(offset))


@given(first=offsets, then=offsets, asked=offsets)
def test_it_includes_what_it_is_made_of_and_nothing_that_is_not_done(
    first: set[int], then: set[int], asked: set[int]
) -> None:
    progress = Progress(10).after(spans(first | then))
    assert progress.includes(Progress(10).after(spans(first)))
    assert progress.includes(Progress(0).after(spans(asked))) == all(offset in progress for offset in asked)


@given(done=offsets)
def test_what_the_base_passes_makes_the_rest_no_longer(done: set[int]) -> None:
    progress = Progress(0).after(spans(done))
    while progress.done:
        later = progress.after([(progress.base, progress.base + 1)])
        assert len(later.metadata) <= len(progress.metadata)
        progress = later


def test_where_the_offset_says_it_all_there_is_no_metadata() -> None:
    assert Progress(7).metadata == ""
    assert Progress(0).after([(0, 7)]) == Progress(7)


def test_the_end_of_a_replay_goes_along() -> None:
    assert Progress(7, until=9).after([(7, 8)]) == Progress(8, until=9)
    assert Progress(8, until=9).metadata == "image-worker/1;until=9"


def test_the_id_of_the_topic_goes_along() -> None:
    assert Progress(7, topic_id=ID).after([(7, 8)]) == Progress(8, topic_id=ID)
    assert Progress(8, topic_id=ID).metadata == f"image-worker/1;topic={ID}"


def test_offsets_may_be_of_a_topic_unless_both_ids_are_known_and_differ() -> None:
    assert not Progress(7, topic_id=ID).may_be_of("another")
    for committed, now in [(ID, ID), (ID, None), (None, ID), (None, None)]:
        assert Progress(7, topic_id=committed).may_be_of(now)


def test_one_in_two_hundred_that_hang_leave_room_for_a_hundred_thousand() -> None:
    progress = Progress(0, topic_id=ID).after((start, start + 199) for start in range(1, 180_000, 200))
    assert len(progress.done) == 900
    assert progress.fits


@pytest.mark.parametrize(
    ("until", "length", "fits"), [(10**12, METADATA_LIMIT, True), (10**13, METADATA_LIMIT + 1, False)]
)
def test_it_fits_as_long_as_a_broker_takes_it(until: int, length: int, fits: bool) -> None:
    progress = Progress(0, until=until).after((number, number + 1) for number in range(1, 2968, 2))
    assert (len(progress.metadata), progress.fits) == (length, fits)


@pytest.mark.parametrize(
    ("span", "octets"),
    [((1, 128), b"\x01\x7f"), ((1, 129), b"\x01\x80\x01"), ((127, 129), b"\x7f\x02"), ((1, 257), b"\x01\x80\x02")],
)
def test_the_lengths_are_varints_as_others_write_them(span: tuple[int, int], octets: bytes) -> None:
    assert Progress(0, (span,)).metadata == "image-worker/1;done=" + b64encode(octets).decode()


@pytest.mark.parametrize("length", [1, 127, 128, 129, 255, 256, 2**14, 2**21, 2**35])
def test_a_stretch_of_any_length_is_read_as_it_was(length: int) -> None:
    progress = Progress(3, ((3 + length, 3 + 2 * length),))
    assert parse(3, progress.metadata) == progress


@pytest.mark.parametrize("metadata", [None, "", "by hand", "other-tool/1;done=AA"])
def test_the_metadata_of_others_says_nothing(metadata: str | None) -> None:
    assert parse(5, metadata) == Progress(5)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ("image-worker/2;done=AQE=", "^it was written by another release: image-worker/2$"),
        ("image-worker/1;done=AQE", "padding"),
        ("image-worker/1;done=AQ*E=", "base64"),
        ("image-worker/1;done=AQ==", "shorter"),
        ("image-worker/1;done=AYE=", "^a number is cut off$"),
        ("image-worker/1;until=soon", "soon"),
        ("image-worker/1;done", "update sequence"),
    ],
)
def test_our_own_that_cannot_be_read_is_an_error_and_not_nothing_done(metadata: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(5, metadata)


@given(done=st.sets(st.integers(0, 20_000), max_size=600), topic_id=topic_ids, more=st.data())
def test_what_it_has_room_for_fits_wherever_it_lies(done: set[int], topic_id: str | None, more: st.DataObject) -> None:
    progress = Progress(0, topic_id=topic_id).after((2 * n + 1, 2 * n + 2) for n in done)
    count = min(progress.room, 400)
    places = more.draw(st.sets(st.integers(0, 40_000), min_size=count, max_size=count))
    assert progress.after(spans(places)).fits
