"""What a replay would be: counted, and measured for some seconds on the window's own images. Changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.table import Table

from worker.chain import Chain
from worker.errors import Rejected, Stage, Transient
from worker.kafka import sample
from worker.kafka.codec import EventDecoder
from worker.kafka.registry import Registry
from worker.kafka.sample import Sample
from worker.kafka.standing import length
from worker.observe.metrics import Metrics
from worker.opening import open_chain
from worker.records import SourceRecord
from worker.replay.job import Job
from worker.replay.meter import spoken
from worker.replay.plan import Plan

_RECORDS = 512
_MEASURE_S = 10.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was counted and measured."""

    plan: Plan
    sample: Sample
    per_s: float
    """Records a second that one process does; 0 where none was done in time."""

    @property
    def records(self) -> int:
        """An estimate: offsets, as far as they hold records in the sample."""
        return round(self.plan.offsets * self.sample.density)

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
        read = len(self.sample.records)
        yield "records", f"{self.plan.offsets} at most, about {self.records}, by a sample of {read}"
        yield "bytes", f"about {round(self.records * self.sample.record_bytes):,}"
        if not read:
            yield "rate", "not measured: there is no record in the sample"
        else:
            yield from self._pace()
        yield "", "nothing was joined, committed or created"

    def _pace(self) -> Iterable[tuple[str, str]]:
        limited = self.plan.rate is not None and self.plan.rate < self.per_s
        rate = min(self.per_s, self.plan.rate or self.per_s)
        yield "rate", f"{rate:.0f}/s a process, {'by --rate' if limited else 'measured on the sample'}"
        yield "takes", f"about {spoken(self.records / rate if rate else None)} with one process"


@dataclass(slots=True)
class _Progress:
    stage: str = Stage.FETCH


async def rehearse(job: Job) -> Rehearsal:
    """Count, read a sample, and take it through the chain. Raises Fatal where the model or the broker fails."""
    kafka = job.plan.settings.kafka
    taken = await asyncio.to_thread(sample.take, kafka, kafka.topics.input, job.plan.spans, _RECORDS)
    return Rehearsal(job.plan, taken, await _rate(job, taken.records))


async def _rate(job: Job, records: Iterable[SourceRecord]) -> float:
    """Records a second through the worker's own chain, as many at once as the worker has."""
    settings = job.plan.settings
    async with AsyncExitStack() as stack:
        registry = Registry(settings.events) if settings.events.registry_url else None
        if registry is not None:
            stack.push_async_callback(registry.close)
        room = await stack.enter_async_context(open_chain(settings, Metrics(), job.classifier))
        codec, slots = EventDecoder(settings.events, registry), asyncio.Semaphore(settings.kafka.max_at_work)
        tasks = [asyncio.create_task(_through(each, codec, room.chain, slots)) for each in records]
        if not tasks:
            return 0.0
        started_s = time.monotonic()
        done, left = await asyncio.wait(tasks, timeout=_MEASURE_S)
        took_s = time.monotonic() - started_s
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(done) / took_s


async def _through(record: SourceRecord, codec: EventDecoder, chain: Chain, slots: asyncio.Semaphore) -> None:
    async with slots:
        try:
            if record.value is not None:
                await chain.classify(await codec.decode(record), _Progress())
        except (Rejected, Transient):
            return  # a dead letter, or it would wait: done with, for the time it takes
