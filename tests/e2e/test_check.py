"""`image-worker check`: a line each, what to do where it fails, and it goes on."""

from __future__ import annotations

import pytest

from tests.cli import image_worker
from tests.clusters import Cluster, Topics
from tests.registry import registry
from worker.check import registry_findings
from worker.settings import resolve


def check(cluster: Cluster, topics: Topics, *more: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and by subject the mark and the text."""
    flags = [word for flag in cluster.flags(topics, *more) for word in ("--set", flag)]
    process = image_worker(*flags, "check")
    assert process.stderr == b""
    rows = [(line[:6].strip(), line[8:40].strip(), line[40:].strip()) for line in process.stdout.decode().splitlines()]
    return process.returncode, {subject: (mark, text) for mark, subject, text in rows}


def test_all_is_well_with_broker_topics_model_and_one_image(embedded: Cluster) -> None:
    topics = embedded.topics()
    code, found = check(embedded, topics, "images.formats=['webp']", "kafka.delivery=exactly-once")
    assert code == 0
    assert all(mark == "ok" for mark, _ in found.values())
    subjects = [f"topic {name}" for name in (topics.input, topics.results, topics.dead_letters)]
    assert list(found) == ["configuration", "broker", *subjects, "transactions", "model", "decoders", "image"]
    assert "cat" in found["image"][1]
    assert found["decoders"][1] == "1 processes with no network, no files, no programs"


def test_it_goes_on_after_each_failure_and_says_what_to_do(embedded: Cluster) -> None:
    topics = embedded.topics()
    code, found = check(
        embedded,
        topics,
        "kafka.topics.dead_letters=nowhere",
        "events.registry_url=http://127.0.0.1:1",
        "events.schema_files=['/missing.avsc']",
        "model.source=/missing",
    )
    assert code == 1
    failed = {subject: text for subject, (mark, text) in found.items() if mark == "failed"}
    assert set(failed) == {"events.schema_files", "topic nowhere", "registry", "model"}
    assert "create it" in failed["topic nowhere"]
    assert "check events.registry_url" in failed["registry"]


@pytest.mark.parametrize(
    ("compatible", "register", "text"),
    [(True, "true", "compatible"), (True, "false", "has no such schema"), (False, "true", "is not compatible")],
)
async def test_the_registry_is_asked_for_the_schema_of_the_results(compatible: bool, register: str, text: str) -> None:
    async with registry() as fake:
        fake.compatible = compatible
        flags = [f"events.registry_url={fake.url}", f"events.register_schemas={register}"]
        settings = resolve(None, flags, {}).settings
        found = {finding.subject: finding async for finding in registry_findings(settings.events, "results")}
    assert found["registry"].remedy == ""
    subject = found["subject results-value"]
    assert text in subject.result + subject.remedy
    assert bool(subject.remedy) == (text != "compatible")


def test_a_wrong_configuration_is_a_failed_line_and_exit_code_2() -> None:
    process = image_worker("--set", "batch.max_size=0", "check")
    assert process.returncode == 2
    assert process.stdout.decode().startswith("failed  configuration")
    assert "batch.max_size" in process.stdout.decode()
