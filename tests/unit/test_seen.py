"""Results of bytes that come again."""

from __future__ import annotations

import hashlib

import pytest

from tests.clusters import Cluster, event
from tests.workers import running, until
from worker.errors import Reason, Rejected
from worker.observe.metrics import Metrics
from worker.records import EncodedImage
from worker.seen import Seen

IMAGE = EncodedImage(b"image")
SHA256 = hashlib.sha256(IMAGE.data).hexdigest()


def refused(reason: Reason = Reason.BROKEN_IMAGE) -> Rejected:
    return Rejected(reason, "why", sha256=SHA256)


def test_the_same_bytes_come_to_the_same_result() -> None:
    metrics = Metrics()
    seen = Seen[str](10, metrics)
    assert seen.before(IMAGE) is None
    seen.remember(SHA256, lambda: "result")
    assert seen.before(EncodedImage(b"image", SHA256.upper())) == "result"
    assert seen.before(EncodedImage(b"other")) is None
    counts = [
        metrics.registry.get_sample_value("image_worker_seen_total", {"result": each}) for each in ("seen", "new")
    ]
    assert counts == [1, 2]


def test_nothing_is_kept_where_it_is_off() -> None:
    seen = Seen[str](0, Metrics())
    seen.remember(SHA256, lambda: pytest.fail("no result is to be made for nobody"))
    seen.remember_refusal(refused())
    assert seen.before(IMAGE) is None


def test_bytes_that_an_event_expects_to_be_others_are_not_looked_up() -> None:
    seen = Seen[str](10, Metrics())
    seen.remember(SHA256, lambda: "result")
    assert seen.before(EncodedImage(b"image", "0" * 64)) is None


def test_bytes_that_were_refused_are_refused_again() -> None:
    seen = Seen[str](10, Metrics())
    seen.remember_refusal(refused())
    for _ in range(2):
        with pytest.raises(Rejected, match="broken_image: why") as caught:
            seen.before(IMAGE)
        assert caught.value.sha256 == SHA256


@pytest.mark.parametrize(
    "reason", [Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED, Reason.DECODE_OUT_OF_MEMORY, Reason.DIGEST_MISMATCH]
)
def test_what_the_same_bytes_need_not_meet_again_is_not_kept(reason: Reason) -> None:
    seen = Seen[str](10, Metrics())
    seen.remember_refusal(refused(reason))
    assert seen.before(IMAGE) is None


def test_the_result_that_was_not_asked_for_for_longest_is_let_go() -> None:
    seen = Seen[str](2, Metrics())
    images = [EncodedImage(bytes([number])) for number in range(3)]
    for number, image in enumerate(images):
        seen.remember(hashlib.sha256(image.data).hexdigest(), lambda number=number: str(number))
        assert seen.before(images[0]) == "0"
    assert [seen.before(image) for image in images] == ["0", None, "2"]


async def test_a_worker_classifies_the_same_bytes_once(embedded: Cluster) -> None:
    topics = embedded.topics()
    embedded.produce(topics.input, (event(1) for _ in range(50)))
    settings = embedded.settings(
        topics, "kafka.group_protocol=consumer", "images.seen_results=10", "kafka.max_at_work=1"
    )
    async with running(settings) as worker:
        await until(lambda: sum(embedded.committed(topics).values()) == 50, "all are done")
        assert worker.metrics.registry.get_sample_value("image_worker_batch_images_sum") < 50
        assert worker.metrics.registry.get_sample_value("image_worker_seen_total", {"result": "seen"}) > 0
    read = embedded.read([topics.results], 50)
    assert (
        len(
            {
                message.value()[message.value().index(b'"scores"') : message.value().index(b'"timing"')]
                for message in read
            }
        )
        == 1
    )
