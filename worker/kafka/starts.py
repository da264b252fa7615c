"""Where reading begins in partitions that were assigned: found out while the Kafka thread goes on.

The answer takes milliseconds, but for a coordinator that is away, or that holds the offsets of some partitions back
until the transaction of a former owner has ended (KIP-447). So a thread and a client of its own (scout.py) find out for
which there is an answer, and each partition begins when its own start is known: those that are held back hold back no
other, and no poll. (confluent-kafka 2.16 keeps the worker's own consumer from polling while another thread asks with
it.)

What is committed is then asked for by the worker's consumer: of the coordinator that has just given it the partition.
Another client may still know another one, which stood still, is coordinator no more, and has not heard of it yet.

Where there is no committed offset, a replay begins where it was asked to (bounds.py). Else `kafka.start` decides, but
only of what was there when the group began: a partition that was added later is read from its beginning. To tell the
two apart, a start at the end of a partition is committed before anything is read. That also keeps what comes between
this start and the first settlement (KAFKA-12261).

A committed offset counts a log that may be no more: its topic was made again (topic_id.py), or a leader was elected
that had fewer of its records. Both are looked at before anything is read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.errors import Fatal
from worker.kafka.aside import aside
from worker.kafka.asker import Asker, Found
from worker.kafka.bounds import Bounds
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress, parse
from worker.kafka.properties import patience_s
from worker.kafka.scout import Scout, Watermarks
from worker.kafka.settings import KafkaSettings
from worker.kafka.topic_id import TopicWatch

log = structlog.get_logger(__name__)

_ASK_S = 1.0
"""How long one question may take, and a commit of what it found."""
_ALONE_S = 0.3
"""How long at first, where others of the same question wait for theirs."""
_REACH_S = 5.0
_PAUSE_S = 0.2
"""Between a question that failed and the next about the same partitions, at least; and between two such commits, but
no longer than the first was waited for."""

_NEVER = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "ask for READ on the group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ and DESCRIBE on the topic",
}


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins in one partition."""

    position: Position
    """With the metadata that was committed."""
    progress: Progress
    """What is done from there on."""
    committed: bool = True
    """Whether the group has an offset here."""


@dataclass(slots=True)
class _Question:
    """About partitions, without those that were given up since."""

    partitions: set[Partition]
    timeout_s: float = _ASK_S
    answer: Future[Mapping[Partition, Watermarks]] = field(default_factory=Future)
    """The scout's, of those of which nothing is committed."""


Commit = Callable[[Mapping[Partition, Position], float], bool]
"""`Sink.commit`, with the group and a time limit in seconds."""


class Starts:
    """The starts of partitions that are assigned and not begun. Used by the Kafka thread alone.

    What was found before a partition was assigned says nothing of where it begins: another member may have had it. So
    it is forgotten with the partition, and after a standstill longer than the group's patience all is asked anew.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        consumer: Consumer,
        commit: Commit,
        watch: TopicWatch,
        bounds: Bounds | None = None,
    ) -> None:
        """`bounds`: of a replay, which decides where there is no committed offset."""
        self._bounds = bounds
        self._at_end = settings.start == "latest"
        self._patience_s = patience_s(settings)
        self._commit = commit
        self._watch = watch
        self._asker = Asker(settings, consumer, bounds)
        self._scout = Scout(settings)
        self.waiting: dict[Partition, float] = {}
        """Since when (monotonic) each partition is assigned that is not begun."""
        self._alone_s = _ALONE_S
        self._found: dict[Partition, Start] = {}
        self._to_ask: deque[_Question] = deque()
        self._asked: _Question | None = None
        self._ask_again_s = self._commit_again_s = self._looked_s = 0.0
        self._committing = False
        """Whether a commit may be under way, be it of what was given up since: others wait for its end (KIP-447)."""
        self._said: set[Partition] = set()
        """Those that were said to wait."""

    def look(self) -> bool:
        """Whether it is known if the group begins only now, which is asked before it is joined. Call it again if not.

        Raises Fatal where it may not be asked.
        """
        try:
            self._asker.look(_ASK_S)
        except KafkaException as error:
            log.warning("kafka.group_unknown", error=_reason(error), next="ask again before the group is joined")
            time.sleep(_PAUSE_S)
            return False
        return True

    def reach(self) -> None:
        """Have the group's coordinator answer something. On any thread, while nothing is assigned; waits for it.

        Raises KafkaException where it does not.
        """
        self._scout.reach(_REACH_S)

    def ask(self, partitions: Collection[Partition]) -> None:
        """Begin to find the starts of partitions that were just assigned."""
        wanted = {*partitions, *self._note_standstill()}
        since_s = {partition: self.waiting.get(partition, self._looked_s) for partition in wanted}
        self.forget(wanted)
        self.waiting |= since_s
        self._to_ask.appendleft(_Question(wanted))
        self._go_on()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These were begun, or given up."""
        for partition in partitions:
            self.waiting.pop(partition, None)
            self._found.pop(partition, None)
            self._said.discard(partition)
            for question in (*self._to_ask, *filter(None, [self._asked])):
                question.partitions.discard(partition)

    def ready(self) -> Mapping[Partition, Start]:
        """The starts that are known by now, of partitions that are not begun.

        Waits for nothing of which the scout has not found that it is there, and for a commit of them.

        Raises Fatal where they may not be asked for, or what is committed is of no use.
        """
        if not self.waiting and not self._committing:
            return {}
        if void := self._note_standstill():
            self.ask(void)
        self._go_on()
        return self._pinned()

    def _note_standstill(self) -> set[Partition]:
        """What must be asked anew, since the thread was not here for too long."""
        before_s, self._looked_s = self._looked_s, time.monotonic()
        return set(self.waiting) if self._looked_s - before_s >= self._patience_s else set()

    def _go_on(self) -> None:
        """Take the answer that has come, and ask what is to be asked next."""
        if self._asked is not None and self._asked.answer.done():
            self._take(self._asked)
        if self._asked is None and (question := self._next()) is not None:
            self._asked = question
            wanted, timeout_s = sorted(question.partitions), question.timeout_s
            question.answer = aside(lambda: self._scout.explore(wanted, timeout_s), "starts")

    def _next(self) -> _Question | None:
        while self._to_ask:
            if (question := self._to_ask.popleft()).partitions:
                return question
        left = self.waiting.keys() - self._found.keys()
        return _Question(set(left)) if left and time.monotonic() >= self._ask_again_s else None

    def _take(self, question: _Question) -> None:
        self._asked = None
        self._ask_again_s = time.monotonic() + _PAUSE_S
        try:
            seen = question.answer.result()
            found = self._asker.find(sorted(question.partitions), seen, _ASK_S) if question.partitions else []
        except KafkaException as error:
            self._wait(question, _reason(error))
            return
        topic_id = self._watch.now() if found else None
        self._found |= {each.partition: self._start(each, topic_id) for each in found}

    def _wait(self, question: _Question, why: str) -> None:
        """Of several partitions one may hold the answer back: each is asked about alone before all are again."""
        if len(question.partitions) > 1:
            self._to_ask.extend(_Question({each}, self._alone_s) for each in sorted(question.partitions))
        else:
            # It may be the answers that take longer than that, and not this partition's alone.
            self._alone_s = min(_ASK_S, 2 * self._alone_s)
            self._say(question.partitions, why)

    def _say(self, partitions: Iterable[Partition], why: str) -> None:
        if new := set(partitions) - self._said:
            self._said |= new
            log.warning(
                "kafka.start_waits",
                partitions=[f"{topic}[{number}]" for topic, number in sorted(new)],
                error=why,
                next="try again: a former owner's transaction may be open still, or a broker away",
            )

    def _pinned(self) -> Mapping[Partition, Start]:
        """The starts that are ready. Those at an end, and those of a replay, must be committed first."""
        ends = {partition: start.position for partition, start in self._found.items() if self._is_to_be_pinned(start)}
        if self._are_pinned(ends):
            self._found |= {partition: replace(self._found[partition], committed=True) for partition in ends}
            return self._found
        return {partition: start for partition, start in self._found.items() if partition not in ends}

    def _are_pinned(self, ends: Mapping[Partition, Position]) -> bool:
        """A commit without an answer is not waited for by each poll: these bring the records of other partitions.

        Of a group that begins all starts are committed at once. A member that finds some of them takes the group for
        one that has begun, and the partitions that have none for added later.
        """
        all_found = self.waiting.keys() <= self._found.keys() or not self._asker.saw_it_begin
        began_s = time.monotonic()
        if (ends and not all_found) or began_s < self._commit_again_s:
            return False
        self._committing = not self._commit(ends, _ASK_S)
        if not self._committing:
            return True
        now_s = time.monotonic()
        # None after one that did not wait: it may be begun between two settlements that follow each other closely.
        self._commit_again_s = now_s + min(_PAUSE_S, now_s - began_s)
        self._say(ends, "the start could not be committed")
        return False

    def _is_to_be_pinned(self, start: Start) -> bool:
        return not start.committed and (self._at_end or start.progress.until is not None)

    def _start(self, found: Found, topic_id: str | None) -> Start:
        """What is committed from here on names the topic; where it is not known now, as the last commit did."""
        if found.begin is None:
            entry, progress = found.committed, _progress(found.committed)
            self._watch.check(entry.partition, progress)
            if self._bounds is not None:
                self._bounds.check(progress)
            position = Position(entry.offset, entry.leader_epoch, entry.metadata or "")
            return Start(position, replace(progress, topic_id=topic_id or progress.topic_id))
        begin = replace(found.begin, topic_id=topic_id)
        return Start(Position(begin.base, metadata=begin.metadata), begin, committed=False)


def _reason(error: KafkaException) -> str:
    """What went wrong. Fatal where it always will."""
    problem: KafkaError = error.args[0]
    if problem.code() in _NEVER:
        raise Fatal(
            f"Kafka does not tell the group's offsets: {problem.str()} ({problem.name()}): {_NEVER[problem.code()]}"
        ) from error
    return problem.str()


def _progress(entry: TopicPartition) -> Progress:
    try:
        return parse(entry.offset, entry.metadata)
    except ValueError as error:
        raise Fatal(
            f"what the group committed for {entry.topic}[{entry.partition}] at {entry.offset} cannot be read: {error}: "
            "run the release that wrote it, or do the partition again from there: `image-worker offsets set`"
        ) from error
