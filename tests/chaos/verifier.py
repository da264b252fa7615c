"""Reads what the brokers hold, all of it, and has it audited. Shares no code with the worker.

What is read is what readers of committed transactions see. The offsets' history is the topic `__consumer_offsets`
itself, so that an offset that moved back and forth again is seen, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from time import monotonic, sleep

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.chaos.books import Committed, Found, LateCommit, Place, Verdict, audit
from tests.chaos.events import Event, event_of
from tests.chaos.offsets import parse_key, parse_value
from tests.chaos.outcomes import found

_PATIENCE_S = 60.0
"""For the next record: the longest is the wait for a transaction of a killed worker to be aborted, some 10 s."""


@dataclass(frozen=True, slots=True)
class Books:
    """The topics of a group, and its name."""

    group: str
    input: str
    results: str
    dead_letters: str
    exactly_once: bool
    until: int | None = None
    """Of a replay: the end of each partition's window."""
    replays: str | None = None
    """And the group that did the same before, with the same model."""

    def end(self, end: int) -> int:
        """What is to be done of a partition that ends there."""
        return end if self.until is None else min(end, self.until)


def verify(
    servers: str,
    groups: Mapping[str, Books],
    late: Mapping[str, Collection[LateCommit]],
    folder: Path,
    tell: Callable[[str], None],
) -> tuple[dict[str, Verdict], list[str]]:
    """A verdict for each group whose topics can be read, and what is wrong with the others.

    `late`: of each consumer group, what the network brought late (see `audit`). What was read is written to the folder,
    for whoever has to find a cause.
    """
    tell("reading the history of committed offsets")
    commits = _history(servers, groups.values())
    verdicts, wrong, ids = dict[str, Verdict](), list[str](), dict[str | None, dict[Place, str]]()
    for name, books in groups.items():
        tell(f"reading the outcomes of {books.group}")
        try:
            outcomes = list(map(found, read(servers, [books.results, books.dead_letters])))
            events = _events(servers, books.input)
        except (RuntimeError, KafkaException) as error:
            wrong.append(f"{name}: cannot be verified: {error}")
            continue
        _write(folder / f"{books.group}-outcomes.tsv", outcomes)
        _write(folder / f"{books.group}-commits.tsv", commits[books.group])
        verdicts[name] = audit(
            _ends(books, events),
            outcomes,
            commits[books.group],
            events,
            late.get(books.group, ()),
            ids.get(books.replays, {}),
            exactly_once=books.exactly_once,
        )
        ids[books.group] = {outcome.event: outcome.id for outcome in outcomes}
    return verdicts, wrong


def _history(servers: str, groups: Iterable[Books]) -> dict[str, list[Committed]]:
    """What each group committed, in that order."""
    inputs = {books.group: books.input for books in groups}
    commits: dict[str, list[Committed]] = {group: [] for group in inputs}
    for message in read(servers, ["__consumer_offsets"]):
        key, value = parse_key(message.key() or b""), message.value()
        if key is not None and value is not None and inputs.get(key[0]) == key[1]:
            commits[key[0]].append(Committed(key[2], parse_value(value)[0], message.timestamp()[1]))
    return commits


def _events(servers: str, topic: str) -> dict[Place, Event]:
    """The events, which are read, and not taken from whoever produced them."""
    events: dict[Place, Event] = {}
    ends: dict[int, int] = {}
    for message in read(servers, [topic]):
        partition, offset = message.partition() or 0, message.offset() or 0
        if offset != ends.get(partition, 0):
            raise RuntimeError(f"{topic}[{partition}] has a gap before offset {offset}")
        ends[partition] = offset + 1
        events[partition, offset] = event_of(message.value() or b"")
    return events


def _ends(books: Books, events: Iterable[Place]) -> dict[int, int]:
    """How much of each partition is to be done."""
    ends: dict[int, int] = {}
    for partition, offset in events:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return {partition: books.end(end) for partition, end in ends.items()}


def _write(path: Path, rows: Iterable[Found | Committed]) -> None:
    """A line for each, in the order in which they were read."""
    with path.open("w") as file:
        file.writelines("\t".join(map(str, astuple(row))) + "\n" for row in rows)


def attempts(servers: str, books: Books, events: Collection[Place]) -> Iterator[Found]:
    """Every outcome of these events that was ever written, in transactions that were aborted, too."""
    for message in read(servers, [books.results, books.dead_letters], "read_uncommitted"):
        if (outcome := found(message)).event in events:
            yield outcome


def ends(servers: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """The end of each partition, open transactions included. Raises KafkaException where a broker does not say it."""
    consumer = _reader(servers, "read_uncommitted")
    try:
        partitions = _partitions(consumer, topics)
        return {(p.topic, p.partition): consumer.get_watermark_offsets(p, timeout=10)[1] for p in partitions}
    finally:
        consumer.close()


def _ends_at_last(servers: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """The ends, of brokers that were killed a moment ago, and are back."""
    deadline_s = monotonic() + _PATIENCE_S
    while True:
        try:
            return ends(servers, topics)
        except KafkaException:
            if monotonic() >= deadline_s:
                raise
            sleep(1.0)


def read(servers: str, topics: Sequence[str], isolation: str = "read_committed") -> Iterator[Message]:
    """Every record that is there, of each partition in its order, to the end as of now.

    Raises RuntimeError where nothing comes for a minute, but for errors.
    """
    left = {partition: end for partition, end in _ends_at_last(servers, topics).items() if end}
    consumer = _reader(servers, isolation)
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in left])
    seen_s, error = monotonic(), ""
    try:
        while left:
            for message in consumer.consume(1000, 1.0):
                if (trouble := message.error()) is not None and trouble.code() != KafkaError._PARTITION_EOF:
                    error = trouble.str()
                    continue
                seen_s = monotonic()
                if trouble is None:
                    yield message
                else:
                    _note_end(left, message)
            if monotonic() - seen_s > _PATIENCE_S:
                raise RuntimeError(f"nothing more can be read of {left}: {error or 'is a transaction open?'}")
    finally:
        consumer.close()


def _note_end(left: dict[tuple[str, int], int], message: Message) -> None:
    """An end is reported where a transaction is open, too, and again when it has ended."""
    partition = (message.topic() or "", message.partition() or 0)
    if (message.offset() or 0) >= left.get(partition, 0):
        left.pop(partition, None)


def unsettled(servers: str, books: Books) -> dict[int, tuple[int, int]]:
    """Of each input partition that is not committed to its end: the committed offset and the end."""
    wanted_ends = {place: books.end(end) for place, end in ends(servers, [books.input]).items()}
    consumer = _reader(servers, "read_committed", books.group)
    try:
        wanted = [TopicPartition(topic, number) for (topic, number), end in wanted_ends.items() if end]
        committed = {(each.topic, each.partition): each.offset for each in consumer.committed(wanted, timeout=10)}
    finally:
        consumer.close()
    return {place[1]: (at, wanted_ends[place]) for place, at in committed.items() if at != wanted_ends[place]}


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    known = {topic: consumer.list_topics(topic, timeout=10).topics[topic].partitions for topic in topics}
    return [TopicPartition(topic, number) for topic, numbers in known.items() for number in numbers]


def _reader(servers: str, isolation: str, group: str = "chaos-verifier") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "isolation.level": isolation,
            # A record that is not there is an error, and nothing to be passed over.
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
