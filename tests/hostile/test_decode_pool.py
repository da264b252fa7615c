"""The pool under attack: what kills or hangs a process costs one image, and the pool stands on."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.hostile.conftest import RECIPE, decoders
from worker.errors import Fatal, Reason, Rejected
from worker.images import pool as pool_module
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import EncodedImage, Pixels

NewPool = Callable[..., Awaitable[DecodePool]]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def busy() -> psutil.Process | None:
    """A decode process that has worked for a while."""
    for process in decoders():
        with suppress(psutil.NoSuchProcess):
            if process.cpu_times().user >= 0.1:
                return process
    return None


async def kill_at_work(by: signal.Signals = signal.SIGKILL) -> None:
    async with asyncio.timeout(20):
        while (process := busy()) is None:
            await asyncio.sleep(0.005)
    process.send_signal(by)
    await until(lambda: process not in decoders())


async def refusal(pool: DecodePool, data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await pool.decode(EncodedImage(data))
    return caught.value


async def reason(pool: DecodePool, data: bytes) -> Reason:
    return (await refusal(pool, data)).reason


async def test_an_image_that_takes_too_long_is_killed_and_its_neighbours_are_not(
    pool: NewPool, good_image: bytes, scan_bomb: bytes
) -> None:
    metrics = Metrics()
    started = await pool(metrics, decode_timeout_s=0.5)
    bomb = asyncio.create_task(reason(started, scan_bomb))
    await asyncio.sleep(0)
    neighbours = await asyncio.gather(*(started.decode(EncodedImage(good_image)) for _ in range(5)))
    assert await bomb is Reason.DECODE_TIMEOUT
    assert all(each.format == "jpeg" for each in neighbours)
    assert metrics.registry.get_sample_value("image_worker_decoder_restarts_total", {"cause": "timeout"}) == 1


async def test_decoding_yields_to_the_model(pool: NewPool) -> None:
    await pool(decode_processes=2)
    assert [child.nice() for child in decoders()] == [os.nice(0) + 10] * 2


async def test_an_image_whose_process_got_no_cpu_is_not_to_blame(pool: NewPool, good_image: bytes) -> None:
    metrics = Metrics()
    started = await pool(metrics, decode_timeout_s=1.0)
    [child] = decoders()
    child.suspend()
    decoding = asyncio.create_task(started.decode(EncodedImage(good_image)))
    await asyncio.sleep(1.6)  # past the limit, and not four times over it
    child.resume()
    assert (await decoding).format == "jpeg"
    assert metrics.registry.get_sample_value("image_worker_decoder_restarts_total", {"cause": "timeout"}) is None


async def test_a_process_that_stands_still_is_killed_all_the_same(pool: NewPool, good_image: bytes) -> None:
    started = await pool(decode_timeout_s=0.2)
    [child] = decoders()
    child.suspend()
    assert await reason(started, good_image) is Reason.DECODE_TIMEOUT
    assert child not in decoders()


async def test_a_process_killed_from_outside_loses_no_image(
    pool: NewPool, good_image: bytes, slow_image: bytes
) -> None:
    started = await pool(decode_timeout_s=60)
    slow = asyncio.create_task(started.decode(EncodedImage(slow_image)))
    await asyncio.sleep(0)
    neighbours = [asyncio.create_task(started.decode(EncodedImage(good_image))) for _ in range(3)]
    await kill_at_work()
    assert (await slow).width == 5000
    assert all(isinstance(each, Pixels) for each in await asyncio.gather(*neighbours))


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (signal.SIGKILL, "killed by SIGKILL (from outside, or the kernel's memory killer)"),
        (signal.SIGSEGV, "killed by SIGSEGV"),
    ],
)
async def test_an_image_whose_process_dies_twice_is_to_blame_and_told_what_it_died_of(
    pool: NewPool, good_image: bytes, scan_bomb: bytes, by: signal.Signals, said: str
) -> None:
    metrics = Metrics()
    started = await pool(metrics, decode_timeout_s=60)
    blamed = asyncio.create_task(refusal(started, scan_bomb))
    await asyncio.sleep(0)
    neighbours = [asyncio.create_task(started.decode(EncodedImage(good_image))) for _ in range(3)]
    await kill_at_work(by)
    await kill_at_work(by)
    rejected = await blamed
    assert rejected.reason is Reason.DECODER_CRASHED
    assert rejected.detail.endswith(said)
    assert all(isinstance(each, Pixels) for each in await asyncio.gather(*neighbours))
    assert metrics.registry.get_sample_value("image_worker_decoder_restarts_total", {"cause": "crash"}) == 2


async def test_idle_processes_that_are_killed_are_replaced(pool: NewPool, good_image: bytes) -> None:
    started = await pool(decode_processes=2)
    killed = decoders()
    for process in killed:
        process.kill()
    await until(lambda: len(decoders()) == 2 and not set(killed) & set(decoders()))
    assert (await started.decode(EncodedImage(good_image))).format == "jpeg"


async def test_a_fork_server_that_is_killed_is_replaced(pool: NewPool, good_image: bytes) -> None:
    started = await pool()
    [child] = decoders()
    server = child.parent()
    assert server is not None
    server.kill()
    child.kill()
    assert (await started.decode(EncodedImage(good_image))).format == "jpeg"


async def test_processes_end_with_their_fork_server_and_lose_no_image(
    pool: NewPool, good_image: bytes, slow_image: bytes
) -> None:
    started = await pool(decode_processes=2, decode_timeout_s=60)
    images = [asyncio.create_task(started.decode(EncodedImage(slow_image))) for _ in range(2)]
    await until(lambda: busy() is not None)
    orphans = decoders()
    server = orphans[0].parent()
    assert server is not None
    server.kill()
    assert [each.width for each in await asyncio.gather(*images)] == [5000, 5000]
    assert not set(orphans) & set(decoders())
    assert (await started.decode(EncodedImage(good_image))).format == "jpeg"


async def test_a_fork_server_that_stands_still_holds_up_no_image(
    pool: NewPool, good_image: bytes, slow_image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have to say how the process died; its neighbour goes on without that."""
    monkeypatch.setattr(pool_module, "_REPORT_LIMIT_S", 0.1)
    started = await pool(decode_processes=2, decode_timeout_s=60)
    slow = asyncio.create_task(started.decode(EncodedImage(slow_image)))
    await until(lambda: busy() is not None)
    process = busy()
    assert process is not None
    server = process.parent()
    assert server is not None
    server.suspend()
    process.kill()
    assert (await slow).width == 5000
    server.resume()
    assert (await started.decode(EncodedImage(good_image))).format == "jpeg"


async def test_memory_beyond_the_limit_costs_the_image(pool: NewPool, good_image: bytes) -> None:
    started = await pool(decode_memory_bytes=256 * 1024 * 1024, max_bytes=1024 * 1024)
    buffer = BytesIO()
    Image.new("RGBA", (7000, 7000)).save(buffer, "PNG")
    assert await reason(started, buffer.getvalue()) in (Reason.DECODE_OUT_OF_MEMORY, Reason.DECODER_CRASHED)
    assert (await started.decode(EncodedImage(good_image))).format == "jpeg"


async def test_decode_processes_know_no_secrets_and_hold_no_files(
    pool: NewPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    await pool()
    [child] = decoders()
    assert not any("SECRET" in name for name in child.environ())
    assert child.rlimit(psutil.RLIMIT_AS) == (1 << 30, 1 << 30)
    links = [os.readlink(f"/proc/{child.pid}/fd/{name}") for name in os.listdir(f"/proc/{child.pid}/fd")]
    assert sorted(link.partition(":")[0] for link in links) == [*["/dev/null"] * 3, "socket"]


async def test_large_images_do_not_stay_in_shared_memory(pool: NewPool, good_image: bytes) -> None:
    started = await pool()
    await started.decode(EncodedImage(good_image + bytes(10_000_000)))
    [child] = decoders()
    shared = next(each for each in child.memory_maps() if "memfd:image-worker" in each.path)
    assert shared.rss < 2_000_000


async def test_processes_that_cannot_start_are_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    broken = DecodePool(ImagesSettings(decode_processes=2), RECIPE, Metrics())
    with pytest.raises(Fatal, match="before they stand"):
        await broken.start()
    with pytest.raises(Fatal):
        await broken.decode(EncodedImage(b""))


async def test_a_worker_out_of_descriptors_stops_instead_of_hanging(
    pool: NewPool, good_image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    started = await pool()
    monkeypatch.setattr(os, "memfd_create", refuse)
    decoders()[0].kill()
    await until(lambda: decoders() == [])
    with pytest.raises(Fatal, match="Too many open files"):
        await started.decode(EncodedImage(good_image))


async def test_closing_ends_those_who_wait(pool: NewPool, scan_bomb: bytes) -> None:
    started = await pool()
    waiting = asyncio.create_task(started.decode(EncodedImage(scan_bomb)))
    await until(lambda: busy() is not None)
    await started.close()
    with pytest.raises(Fatal):
        await waiting


async def test_decode_processes_end_with_a_parent_that_is_killed() -> None:
    program = """
import asyncio, sys
from tests.hostile.conftest import RECIPE
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics

async def main():
    pool = DecodePool(ImagesSettings(decode_processes=2), RECIPE, Metrics())
    await pool.start()
    print("standing", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"standing\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) == 3
    parent.kill()
    await parent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
    assert alive == []
