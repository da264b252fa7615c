"""What a replay would be: counted, and measured for some seconds on the window's own images. Changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.table import Table

from worker.chain import Chain
from worker.errors import Fatal, Rejected, Stage, Transient
from worker.kafka import sample
from worker.kafka.classification import encoder
from worker.kafka.codec import EventDecoder
from worker.kafka.registry import Registry
from worker.kafka.sample import Sample
from worker.kafka.standing import length
from worker.observe.metrics import Metrics
from worker.opening import open_chain
from worker.records import SourceRecord
from worker.replay.job import Job
from worker.replay.meter import paced, spoken
from worker.replay.plan import Plan

_RECORDS = 512
_MEASURE_S = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of the sample's records in the time there was."""

    done: int
    """Classified, or passed on as tombstones."""
    refused: Mapping[str, int]
    """By reason: dead letters, but for those that the policy has an action for."""
    waits: tuple[str, ...]
    """Why each record would wait, as for a registry that is away."""
    took_s: float

    @property
    def per_s(self) -> float:
        """Records a second that one process does; 0 where none was done in time."""
        count = self.done + sum(self.refused.values())
        return count / self.took_s if count else 0.0

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.refused.items()))
        refused = f", {sum(self.refused.values())} refused ({reasons})" if reasons else ""
        waiting = f", {len(self.waits)} would wait: {self.waits[0]}" if self.waits else ""
        return f"{self.done} done{refused}{waiting}"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was counted and measured."""

    plan: Plan
    sample: Sample
    measured: Measured

    def table(self) -> Table:
        """For the operator."""
        table = Table("", "", show_header=False, box=None)
        for row in self._rows():
            table.add_row(*row)
        return table

    def _rows(self) -> Iterable[tuple[str, str]]:
        for number, span in self.plan.spans.items():
            at_work = " (begun before)" if number in self.plan.begun else ""
            yield f"partition {number}", f"{span[0]} to {span[1]}: {length(span)} offsets{at_work}"
        read, sample = len(self.sample.records), self.sample
        yield "records", f"{self.plan.offsets} at most, {_about(sample.expected)}, by a sample of {read}"
        yield "bytes", _about(sample.expected_bytes)
        if read:
            yield "sample", str(self.measured)
            yield from self._pace()
        else:
            yield "rate", "not measured: there is no record in the sample"
        yield "", "nothing was joined, committed or created"

    def _pace(self) -> Iterable[tuple[str, str]]:
        per_s, wanted = self.measured.per_s, self.plan.rate
        if self.measured.waits or not per_s:
            yield "rate", "not measured: see the sample"
            return
        limited = wanted is not None and wanted < per_s
        rate = min(per_s, wanted or per_s)
        yield "rate", f"{paced(rate)} a process, {'by --rate' if limited else 'measured on the sample'}"
        yield "takes", f"about {spoken((self.sample.expected or 0) / rate)} with one process"


@dataclass(slots=True)
class _Progress:
    stage: Stage = Stage.FETCH


async def rehearse(job: Job) -> Rehearsal:
    """Count, read a sample, and take it through the chain.

    Raises Fatal where the model or the broker fails, or a registry has no schema of the results.
    """
    kafka = job.plan.settings.kafka
    taken = await asyncio.to_thread(sample.take, kafka, kafka.topics.input, job.plan.spans, _RECORDS)
    return Rehearsal(job.plan, taken, await _measure(job, taken.records))


async def _measure(job: Job, records: Collection[SourceRecord]) -> Measured:
    """Take them through the worker's own chain, as many at once as the worker has."""
    settings = job.plan.settings
    async with AsyncExitStack() as stack:
        registry = Registry(settings.events) if settings.events.registry_url else None
        if registry is not None:
            stack.push_async_callback(registry.close)
            await _look_up_the_schema(job, registry)
        if not records:
            return _measured((), 0.0)
        room = await stack.enter_async_context(open_chain(settings, Metrics(), job.classifier))
        codec, slots = EventDecoder(settings.events, registry), asyncio.Semaphore(settings.kafka.max_at_work)
        tasks = [asyncio.create_task(_through(each, codec, room.chain, slots)) for each in records]
        started_s = time.monotonic()
        done, _ = await asyncio.wait(tasks, timeout=_MEASURE_S, return_when=asyncio.FIRST_EXCEPTION)
        took_s = time.monotonic() - started_s
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return _measured([task.result() for task in done], took_s)


def _measured(ends: Sequence[Rejected | Transient | None], took_s: float) -> Measured:
    refused = Counter(str(end.reason) for end in ends if isinstance(end, Rejected))
    return Measured(ends.count(None), refused, tuple(str(end) for end in ends if isinstance(end, Transient)), took_s)


async def _look_up_the_schema(job: Job, registry: Registry) -> None:
    """Fatal where the registry does not have it. Where the worker would register it nothing is asked: that changes."""
    events = job.plan.settings.events
    if events.register_schemas:
        return
    try:
        await encoder(events, job.schema_topic, registry)
    except Transient as outage:
        raise Fatal(f"{outage}: the replay would wait for it") from outage


async def _through(
    record: SourceRecord, codec: EventDecoder, chain: Chain, slots: asyncio.Semaphore
) -> Rejected | Transient | None:
    """What it was refused for, or would wait for; None where it was done."""
    async with slots:
        try:
            if record.value is not None:
                await chain.classify(await codec.decode(record), _Progress())
        except (Rejected, Transient) as error:
            return error
        return None


def _about(count: float | None) -> str:
    return "unknown" if count is None else f"about {round(count):,}"
