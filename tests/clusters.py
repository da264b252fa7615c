"""What tests do with a cluster, be it embedded or real: make topics, produce, read, look at committed offsets."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from PIL import Image

from worker.settings import Settings, resolve

PATIENCE_S = 60.0
"""Before a test gives up on something that must come. Generous: these are noisy machines, and no test is about time."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The three topics and the group of one test."""

    input: str
    results: str
    dead_letters: str
    group: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    bootstrap_servers: str
    real: bool
    embedded_create: Callable[..., None] | None = None

    def topics(self, partitions: int = 4) -> Topics:
        """Fresh topics with names of their own."""
        tag = uuid.uuid4().hex[:8]
        topics = Topics(f"images-{tag}", f"results-{tag}", f"dead-{tag}", f"group-{tag}")
        self.create(topics.input, topics.results, topics.dead_letters, partitions=partitions)
        return topics

    def create(self, *names: str, partitions: int = 4, config: dict[str, str] | None = None) -> None:
        if self.embedded_create is not None:
            self.embedded_create(*names)
            return
        admin = self.admin()
        for future in admin.create_topics([NewTopic(name, partitions, config=config or {}) for name in names]).values():
            future.result(timeout=PATIENCE_S)
        # The controller has created them; the broker that is asked next may not have heard of it yet.
        deadline_s = time.monotonic() + PATIENCE_S
        while not set(names) <= admin.list_topics(timeout=PATIENCE_S).topics.keys():
            assert time.monotonic() < deadline_s, f"{names} were created and are not there"

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def flags(self, topics: Topics, *more: str) -> list[str]:
        """Settings of a worker on these topics, as flags."""
        # The embedded cluster keeps a classic member that left until its session ends.
        classic = "kafka.group_protocol=consumer" not in more
        short = ['kafka.consumer_properties."session.timeout.ms"=6000'] if classic else []
        return [
            *short,
            f"kafka.bootstrap_servers={self.bootstrap_servers}",
            f"kafka.group_id={topics.group}",
            f"kafka.topics.input={topics.input}",
            f"kafka.topics.results={topics.results}",
            f"kafka.topics.dead_letters={topics.dead_letters}",
            "events.output_encoding=json",
            "observe.host=127.0.0.1",
            "observe.port=0",
            "images.decode_processes=1",
            *more,
        ]

    def settings(self, topics: Topics, *more: str) -> Settings:
        return resolve(None, self.flags(topics, *more), {}).settings

    def produce(self, topic: str, records: Iterable[dict[str, Any]]) -> None:
        """Records as keyword arguments of Producer.produce."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "linger.ms": 5, "log_level": 0})
        for record in records:
            producer.produce(topic, **record)
            producer.poll(0)
        assert producer.flush(PATIENCE_S) == 0

    def read(self, topics: Sequence[str], count: int, *, patience_s: float = PATIENCE_S) -> list[Message]:
        """At least `count` records of the topics from their beginning: all that are there once so many came."""
        with Reader(self, topics) as reader:
            reader.until(count, patience_s)
            return reader.rest()

    def committed(self, topics: Topics) -> dict[int, int]:
        """The group's committed offsets by partition. Asks without joining the group."""
        consumer = self._asker(topics.group)
        numbers = consumer.list_topics(topics.input, timeout=10).topics[topics.input].partitions
        try:
            found = consumer.committed([TopicPartition(topics.input, number) for number in numbers], timeout=10)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE):
                raise
            return {}  # the coordinator is still being chosen: nothing can be committed yet
        finally:
            consumer.close()
        return {entry.partition: entry.offset for entry in found if entry.offset >= 0}

    def ends(self, topic: str) -> dict[int, int]:
        """The end offset of each partition that has records."""
        consumer = self._asker("ends")
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {n: self._end(consumer, TopicPartition(topic, n)) for n in partitions}
        consumer.close()
        return {number: end for number, end in ends.items() if end}

    def _end(self, consumer: Consumer, partition: TopicPartition) -> int:
        """Asked again while a leader that was just elected does not know it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return consumer.get_watermark_offsets(partition, timeout=10)[1]
            except KafkaException:
                if time.monotonic() >= deadline_s:
                    raise

    def _asker(self, group: str) -> Consumer:
        return Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": group, "log_level": 0})


class Reader:
    """Reads topics from their beginning, outside any group; `committed`: of transactions, only those that are."""

    def __init__(self, cluster: Cluster, topics: Sequence[str], *, committed: bool = True) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": cluster.bootstrap_servers,
                "group.id": f"reader-{uuid.uuid4().hex[:8]}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "log_level": 0,
            }
        )
        assignment = [
            TopicPartition(topic, number, 0)
            for topic in topics
            for number in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        self._consumer.assign(assignment)
        self.seen: list[Message] = []
        self.ids: dict[tuple[int, int], set[str | None]] = {}
        """Of each event, the ids of its outcomes; results in Avro are left out."""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def until(self, count: int, patience_s: float = PATIENCE_S) -> list[Message]:
        """Read on until so many records were seen, and stop there and then."""
        return self._until(lambda: len(self.seen) >= count, patience_s)

    def until_events(self, count: int, patience_s: float = PATIENCE_S) -> list[Message]:
        """Read on until so many different events have an outcome."""
        return self._until(lambda: len(self.ids) >= count, patience_s)

    def _until(self, enough: Callable[[], bool], patience_s: float) -> list[Message]:
        deadline_s = time.monotonic() + patience_s
        while not enough():
            assert time.monotonic() < deadline_s, f"only {len(self.seen)} records came in {patience_s} s"
            self._poll(0.1)
        return self.seen

    def rest(self) -> list[Message]:
        """Read on while there is something at once, to see what should not be there."""
        while self._poll(0.3):
            pass
        return self.seen

    def _poll(self, timeout_s: float) -> bool:
        message = self._consumer.poll(timeout_s)
        if message is None or message.error():
            return False
        self.seen.append(message)
        if message.value() is not None and not (message.value() or b"").startswith((b"\x00", b"\xc3\x01")):
            self.ids.setdefault(source_of(message), set()).add(header(message, "image-worker.outcome.id"))
        return True


def jpeg(grey: int, size: tuple[int, int] = (32, 24)) -> bytes:
    """A small JPEG of one grey; its shade picks the label of the free model."""
    stream = BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(stream, "jpeg")
    return stream.getvalue()


def data_uri(image: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()


def event(number: int, **more: Any) -> dict[str, Any]:
    """A record that asks for a small grey image, in a partition and under a key of its number."""
    value = json.dumps({"url": data_uri(jpeg(number * 37 % 256)), "id": str(number), **more})
    return {"key": f"key-{number}", "value": value, "headers": [("number", str(number).encode())]}


def header(message: Message, name: str) -> str | None:
    """The last value of a header, as text."""
    values = [value for key, value in message.headers() or [] if key == name]
    return values[-1].decode() if values and values[-1] is not None else None


def source_of(message: Message) -> tuple[int, int]:
    """Partition and offset of the event that an outcome belongs to."""
    offset = header(message, "__connect.errors.offset")
    if offset is not None:
        return int(header(message, "__connect.errors.partition") or -1), int(offset)
    source = json.loads(message.value() or b"")["source"]
    return source["partition"], source["offset"]
