"""Replays for tests: in this process on the event loop, or through the command line as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import structlog
from typer.testing import CliRunner

from tests.cli import ROOT, environment
from tests.clusters import PATIENCE_S, Cluster, Topics
from worker.cli.main import app
from worker.errors import Fatal
from worker.replay.job import Job, prepare
from worker.replay.request import Request
from worker.settings import resolve
from worker.testing import FreeClassifier


def other_model() -> FreeClassifier:
    """The free model under another fingerprint."""
    classifier = FreeClassifier()
    classifier.identity = replace(classifier.identity, fingerprint="e" * 64)
    return classifier


def job(cluster: Cluster, topics: Topics, request: Request, *flags: str, model: FreeClassifier | None = None) -> Job:
    # The new protocol's members join at once.
    found = resolve(None, cluster.flags(topics, "kafka.group_protocol=consumer", *flags), {})
    return prepare(found, request, model or FreeClassifier())


async def replayed(cluster: Cluster, topics: Topics, request: Request, *flags: str, **more: Any) -> Job:
    """A replay that was done to its end."""
    made = job(cluster, topics, request, *flags, **more)
    made.make_topics()
    worker, standing = made.worker()
    await worker.run()
    made.require_complete(standing)
    return made


def outputs(made: Job) -> list[str]:
    topics = made.plan.settings.kafka.topics
    return [topics.results, topics.dead_letters]


def command(cluster: Cluster, topics: Topics, words: list[str], *flags: str) -> list[str]:
    """The real command line with the free model."""
    settings = [word for flag in cluster.flags(topics, *flags) for word in ("--set", flag)]
    return [sys.executable, "-m", "tests.free_image_worker", *settings, *words]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def invoke(cluster: Cluster, topics: Topics, words: list[str], *flags: str) -> Ended:
    """A command in this process, for those that end as functions do."""
    settings = [word for flag in cluster.flags(topics, *flags) for word in ("--set", flag)]
    log = structlog.get_config()
    with patch("os._exit", side_effect=AssertionError("this command ends its process: use `run`")):
        result = CliRunner().invoke(app, [*settings, *words])
    if isinstance(result.exception, AssertionError):
        raise result.exception
    structlog.configure(**log)  # the command's goes to a stderr that is closed by now
    if isinstance(result.exception, Fatal):
        return Ended(result.exception.exit_code, result.stdout, f"image-worker: {result.exception}\n")
    return Ended(result.exit_code, result.stdout, result.stderr)


def run(cluster: Cluster, topics: Topics, words: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    line = command(cluster, topics, words, *flags)
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), cwd=ROOT)
