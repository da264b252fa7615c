"""The soak's short form: the whole worker, good images, and a tenth as many that hang, bloat or break a decoder."""

from __future__ import annotations

from benchmarks.soak import PROCESSES, soak
from tests.hostile.memory import MIB


def test_each_good_image_is_classified_and_each_bad_one_a_dead_letter_while_decoders_die() -> None:
    found = soak(good=1000, bad=100)
    assert found.blamed == {}
    assert found.misnamed == {}
    assert set(found.classified.values()) == {1}
    assert {len(reasons) for reasons in found.letters.values()} == {1}
    assert (len(found.classified), len(found.letters)) == (1000, 100)
    assert found.kills > 0
    assert found.standing == PROCESSES
    # Whether it is flat is seen in the full form alone: this one may be over within a second.
    assert max(each.family for each in found.samples) < 1024 * MIB
