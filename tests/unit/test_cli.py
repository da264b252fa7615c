"""The command line as a whole: quick to start, and errors as one line with the right exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli import environment, error_line, image_worker
from tests.clusters import Cluster
from worker.cli.common import numbers
from worker.errors import ConfigurationError

_PROBE = """
import sys
from worker.cli import main
sys.argv = ["image-worker", *sys.argv[1:]]
try:
    main()
finally:
    print(sorted({"torch", "transformers", "PIL"} & set(sys.modules)), file=sys.stderr)
"""


def imported(*arguments: str) -> str:
    """Which of the slow libraries a command that succeeds imports."""
    probe = [sys.executable, "-c", _PROBE, *arguments]
    process = subprocess.run(probe, capture_output=True, env=environment(), timeout=60)
    assert process.returncode == 0, process.stderr.decode()
    return process.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["config", "show"], ["config", "reference"]])
def test_a_question_imports_no_model_library(arguments: list[str]) -> None:
    assert imported(*arguments) == "[]"


def test_produce_and_watch_import_no_model_library(embedded: Cluster) -> None:
    topics = embedded.topics()
    flags = [word for flag in embedded.flags(topics) for word in ("--set", flag)]
    embedded.produce(topics.results, [{"value": '{"decision": {}}'}])
    assert imported(*flags, "produce", "http://a/b.jpg") == "[]"
    assert imported(*flags, "watch", "--from", "beginning", "--count", "1") == "[]"


def test_a_wrong_key_is_one_line_and_exit_code_2() -> None:
    process = image_worker("--set", "kafka.topic.input=x", "produce", "http://a/b.jpg")
    assert process.returncode == 2
    assert "kafka.topic (from flag --set kafka.topic.input): there is no such key" in error_line(process)


def test_a_broker_that_is_not_there_is_one_line_and_exit_code_1() -> None:
    process = image_worker("--set", "kafka.bootstrap_servers=127.0.0.1:1", "produce", "http://a/b.jpg")
    assert process.returncode == 1
    assert "no Kafka broker answered at 127.0.0.1:1" in error_line(process)


def test_partitions_are_numbers_and_ranges() -> None:
    assert numbers("0") == (0,)
    assert numbers("7, 0,2-4") == (7, 0, 2, 3, 4)
    assert numbers(None) == ()


@pytest.mark.parametrize("text", ["", ",", "0,,1", "-1", "1-", "3-1", "0-1-2", "one", "9999999"])
def test_what_names_no_partitions_is_refused_and_not_taken_for_all(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--partitions .*: write partitions' numbers"):
        numbers(text)
