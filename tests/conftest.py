"""Clusters for all tests: librdkafka's embedded one, and a real Apache Kafka where one can be had."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog
from hypothesis import Phase
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests import kafka_server
from tests.clusters import Cluster
from tests.proxy import Proxy
from worker.kafka.embedded import EmbeddedKafka

_NEEDS = {"broker", "corpus"}

# Timing never fails a test: these may be slow and busy machines. A mutant that mutmut made need be noticed, no more.
_PHASES = (Phase.explicit, Phase.generate) if "MUTANT_UNDER_TEST" in os.environ else tuple(Phase)
hypothesis.settings.register_profile("untimed", deadline=None, phases=_PHASES)
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With REQUIRE_BROKER_AND_CORPUS=1, which CI sets, what would be skipped for want of one of the two fails."""
    report = yield
    needs = _NEEDS.intersection([*(mark.name for mark in item.iter_markers()), *getattr(item, "fixturenames", ())])
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and needs and os.environ.get("REQUIRE_BROKER_AND_CORPUS") == "1":
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_BROKER_AND_CORPUS=1, and this was skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> None:
    """Errors only: dead letters are what many tests are about."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    """The lines that are logged, of every level."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    with capture_logs() as lines:
        yield lines
    structlog.configure(wrapper_class=before)


@pytest.fixture(scope="session")
def embedded() -> Iterator[Cluster]:
    with EmbeddedKafka() as kafka:
        yield Cluster(kafka.bootstrap_servers, real=False, embedded_create=kafka.create)


@pytest.fixture(scope="session")
def broker() -> Iterator[Cluster]:
    """A real Apache Kafka of one broker."""
    if (reason := kafka_server.why_not()) is not None:
        pytest.skip(reason)
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield Cluster(servers, real=True)
        return
    with kafka_server.RealKafka() as kafka:
        yield Cluster(kafka.bootstrap_servers, real=True)


@pytest.fixture(scope="module")
def pair() -> Iterator[kafka_server.RealKafka]:
    """Two brokers, the first of which is the controller."""
    if kafka_server.why_not() is not None or not kafka_server.own_brokers():
        pytest.skip("needs brokers of its own: KAFKA_HOME")
    with kafka_server.RealKafka(2, controllers=1) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[Proxy, Cluster]]:
    """A real Apache Kafka of one broker, and what its clients reach it by."""
    if kafka_server.why_not() is not None or not kafka_server.own_brokers():
        pytest.skip("needs a broker that advertises a proxy: KAFKA_HOME")
    proxy = Proxy()
    with kafka_server.RealKafka(proxies=[proxy.port]) as kafka:
        proxy.target = kafka.brokers[0].behind
        yield proxy, Cluster(f"127.0.0.1:{proxy.port}", real=True)
    proxy.close()


@pytest.fixture(params=["embedded", pytest.param("broker", marks=pytest.mark.broker)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The contract suite runs over both."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The shared corpus of photographs and broken files."""
    folder = Path(os.environ.get("CORPUS_HOME", Path(__file__).parent.parent.parent / "shared" / "corpus"))
    if not folder.is_dir():
        pytest.skip("no corpus: set CORPUS_HOME to a folder with imagenet-sample/ and pillow/")
    return folder


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that is run in this process sets the log up on a stderr which is closed when the command ends."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
