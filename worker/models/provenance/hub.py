"""The hub, asked with a bound on its silence. `HF_ENDPOINT` names a mirror, `HF_HUB_OFFLINE` forbids to ask at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

from worker.errors import Fatal
from worker.models.lines import first_line

log = structlog.get_logger(__name__)

ANSWER_S = 10.0
"""How long the hub may send nothing within an answer."""
SILENCE_S = 30.0
"""How long it may answer nothing at all: what gets no answer is asked anew, a few times for each file."""
PATIENCE_S = 300.0
"""How long a download may bring no 10 MB: huggingface_hub counts in such chunks, and starts anew where a read ends
early, so that a hub which drips would hold it for ever. 35 kB a second are enough."""
WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "README.md")
"""The files of a model that are fetched, locked and loaded: weights, configuration, tokenizer, card."""

_BELOW = ["*/*"]
_LOOK_S = 0.2

Answer = TypeVar("Answer")


class _Watch:
    """Whether the hub still does something. The threads that ask it write here, the one that waits reads."""

    def __init__(self) -> None:
        self._moved_s = time.monotonic()
        self._asked_s: float | None = None
        """Since when an answer is owed, and not even its head came."""

    def moved(self) -> None:
        """Some of a file came."""
        self._moved_s = time.monotonic()

    @contextmanager
    def over(self, client: Any) -> Iterator[None]:
        """See what the client asks, and what is answered."""
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], self._asks],
            "response": [*hooks["response"], self._is_answered],
        }
        try:
            yield
        finally:
            client.event_hooks = hooks

    def check(self) -> None:
        """Raises TimeoutError where it is not worth to wait any longer."""
        now_s = time.monotonic()
        if self._asked_s is not None and now_s - self._asked_s > SILENCE_S:
            raise TimeoutError(f"the hub answers nothing: {SILENCE_S:.0f} s went by")
        if now_s - self._moved_s > PATIENCE_S:
            raise TimeoutError(f"the hub answers too slowly: next to nothing came in {PATIENCE_S:.0f} s")

    def _asks(self, _: object) -> None:
        self._asked_s = self._asked_s or time.monotonic()

    def _is_answered(self, _: object) -> None:
        self._asked_s = None


def resolved(name: str, revision: str) -> str:
    """The 40 hex digits that a branch or tag stands for now. Raises Fatal where the hub does not say."""
    try:
        return _bounded(lambda _: _sha(name, revision))
    except Exception as error:
        raise Fatal(f"the hub did not say which revision {name}@{revision} is: {first_line(error)}") from error


def snapshot(name: str, revision: str) -> Path:
    """The directory with a revision's files. What is here already is not asked for again.

    Raises Fatal, within a bounded time, where they cannot be fetched.
    """
    if _is_known(name, revision) and (kept := _kept(name, revision)) is not None:
        return kept
    try:
        return _bounded(lambda watch: _fetched(name, revision, watch))
    except Exception as error:
        # A cache that was copied here has no list of its files. It may be whole all the same.
        if (kept := _kept(name, revision)) is not None:
            return kept
        raise Fatal(
            f"model {name}@{revision} cannot be fetched ({first_line(error)}): check the name, the revision and"
            " HF_ENDPOINT, or give a directory in model.source"
        ) from error


def _sha(name: str, revision: str) -> str:
    from huggingface_hub import HfApi

    _quiet()
    return str(HfApi().model_info(name, revision=revision, timeout=ANSWER_S).sha)


def _fetched(name: str, revision: str, watch: _Watch) -> Path:
    from huggingface_hub import get_session, snapshot_download

    # Asked first, because this is not tried again and again: a hub that is away or says no is known at once.
    _sha(name, revision)
    client = get_session()
    client.timeout = ANSWER_S
    log.info("model.fetching", model=name, revision=revision)
    with watch.over(client):
        directory = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(WANTED),
            ignore_patterns=_BELOW,
            tqdm_class=_telling(watch.moved),
        )
    return Path(directory)


def _kept(name: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        directory = snapshot_download(
            name, revision=revision, allow_patterns=list(WANTED), ignore_patterns=_BELOW, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(directory)


def _is_known(name: str, revision: str) -> bool:
    """Whether the cache knows which files the revision has, so that it can tell whether they are all here."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        get_cached_repo_tree(name, revision=revision)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def _quiet() -> None:
    """Its warnings, one for each try, would stand between our own lines; the last error is told."""
    from huggingface_hub import utils

    logging: Any = utils.logging
    logging.set_verbosity_error()


def _telling(moved: Callable[[], None]) -> Any:
    """huggingface_hub's progress bar, on a terminal only, which also tells that something came."""
    from huggingface_hub.utils.tqdm import tqdm

    class Telling(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["disable"] = not sys.stderr.isatty()
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> Any:
            moved()
            return super().update(n)

    return Telling


def _bounded(ask: Callable[[_Watch], Answer]) -> Answer:
    """What `ask` returns or raises. Raises TimeoutError when its watch says that nothing comes: its thread is left."""
    answers: SimpleQueue[Answer | Exception] = SimpleQueue()
    watch = _Watch()

    def run() -> None:
        try:
            answers.put(ask(watch))
        except Exception as error:  # noqa: BLE001  (raised by who waits for the answer)
            answers.put(error)

    Thread(target=run, name="hub", daemon=True).start()
    while True:
        try:
            answer = answers.get(timeout=_LOOK_S)
        except Empty:
            watch.check()
            continue
        if isinstance(answer, Exception):
            raise answer
        return answer
