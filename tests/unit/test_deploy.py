"""docker-compose.yml and the Dockerfile, held against the code: all that can be seen without a Docker engine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from yarl import URL

from tests.commands import parse
from worker.demo.photographs import files as photographs
from worker.models.demo import CLASSES
from worker.observe.settings import ObserveSettings
from worker.settings import PREFIX, Settings, resolve

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CUDA = yaml.safe_load((ROOT / "deploy" / "cuda.yml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
OWN = "image-worker:"
WORKER_TOML = ROOT / "deploy" / "worker.toml"
ONE_SHOT = {"topics", "producer"}


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The settings of the workers in docker-compose.yml."""
    return resolve(WORKER_TOML, environment=SERVICES["worker"].get("environment", {})).settings


def instructions(keyword: str) -> list[str]:
    """What stands behind a keyword of the Dockerfile."""
    return [line.removeprefix(keyword).strip() for line in DOCKERFILE if line.startswith(keyword + " ")]


def ours() -> Iterator[tuple[str, list[str]]]:
    """Each service that runs `image-worker`, with its words."""
    for name, service in SERVICES.items():
        if service["image"].startswith(OWN) and "entrypoint" not in service:
            yield name, service["command"]


def listeners(variable: str) -> dict[str, URL]:
    """A broker's listeners by name."""
    entries = SERVICES["kafka"]["environment"][variable].split(",")
    return {entry.partition("://")[0]: URL("kafka://" + (entry.partition("://")[2])) for entry in entries}


def published(service: str) -> set[int]:
    """The ports of the containers that the host can reach."""
    return {int(entry.rpartition(":")[2]) for entry in SERVICES[service]["ports"]}


def test_every_command_line_is_one_that_the_parser_takes() -> None:
    commands = {name: parse(words).command for name, words in ours()}
    assert commands == {"worker": "run", "producer": "produce"}


def test_every_command_reads_the_settings_that_are_mounted() -> None:
    for name, words in ours():
        config = parse(words).config
        assert f"./deploy/worker.toml:{config}:ro" in SERVICES[name]["volumes"]


def test_the_settings_resolve_and_so_does_every_variable_of_the_environment() -> None:
    resolved = []
    for service in (*SERVICES.values(), *CUDA["services"].values()):
        variables = {name: str(value) for name, value in service.get("environment", {}).items()}
        if any(name.startswith(PREFIX) for name in variables) or service.get("image", "").startswith(OWN):
            resolved.append(resolve(WORKER_TOML, environment=variables))
    assert resolved


def test_the_thresholds_are_for_labels_that_the_demo_model_has(settings: Settings) -> None:
    assert settings.policy.thresholds.keys() <= set(CLASSES.read_text().splitlines())


def test_the_topics_created_are_those_of_the_settings(settings: Settings) -> None:
    created = re.findall(r"^create (\S+)", SERVICES["topics"]["command"][-1], re.MULTILINE)
    topics = settings.kafka.topics
    assert created == [topics.input, topics.results, topics.dead_letters, *settings.policy.topics.values()]


def test_topics_take_no_record_larger_than_the_worker_does(settings: Settings) -> None:
    limits = re.findall(r"max\.message\.bytes=(\d+)", SERVICES["topics"]["command"][-1])
    assert limits
    assert all(int(limit) <= settings.kafka.max_record_bytes for limit in limits)


def test_clients_inside_and_outside_find_the_broker(settings: Settings) -> None:
    bound, advertised = listeners("KAFKA_LISTENERS"), listeners("KAFKA_ADVERTISED_LISTENERS")
    inside, outside = advertised["INTERNAL"], advertised["HOST"]
    assert settings.kafka.bootstrap_servers == inside.authority == "kafka:19092"
    assert f"127.0.0.1:{outside.port}:{outside.port}" in SERVICES["kafka"]["ports"]
    assert outside.authority == Settings().kafka.bootstrap_servers
    assert {name: url.port for name, url in advertised.items()}.items() <= {n: u.port for n, u in bound.items()}.items()
    assert SERVICES["schema-registry"]["environment"]["SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS"].endswith(
        f"//{inside.authority}"
    )
    assert SERVICES["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == inside.authority


def test_the_registry_is_where_the_settings_say(settings: Settings) -> None:
    url = URL(settings.events.registry_url or "")
    assert url.host in SERVICES
    assert published(url.host) == {url.port}
    assert SERVICES["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"] == str(url)


def test_the_health_pages_are_asked_and_published_where_they_are(settings: Settings) -> None:
    port = settings.observe.port
    assert published("worker") == {port} == {int(instructions("EXPOSE")[0])} == {ObserveSettings().port}
    (check,) = instructions("HEALTHCHECK")
    assert f"http://127.0.0.1:{port}/livez" in check
    first, last = SERVICES["worker"]["ports"][0].split(":")[1].split("-")
    assert int(last) - int(first) + 1 == SERVICES["worker"]["deploy"]["replicas"] == 2


def test_of_this_network_the_worker_reaches_the_photograph_server_alone(settings: Settings) -> None:
    address = ip_address(SERVICES["photographs"]["networks"]["default"]["ipv4_address"])
    (network,) = settings.images.allow_networks
    assert list(network.hosts()) == [address]
    (pool,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert address in ip_network(pool["subnet"])
    assert address not in ip_network(pool["ip_range"])
    assert int(SERVICES["photographs"]["entrypoint"][-1]) in settings.images.ports


def test_what_is_produced_is_served_but_for_what_is_to_go_wrong(settings: Settings) -> None:
    server, port = "photographs", int(SERVICES["photographs"]["entrypoint"][-1])
    produced = [URL(word) for word in parse(SERVICES["producer"]["command"]).options["words"]]
    served = {URL(f"http://{server}:{port}/{file.name}") for file in photographs()}
    assert len(served.intersection(produced)) == len(produced) - 2
    assert any(url.host == server and url not in served for url in produced)
    assert any(url.host != server and url.port not in settings.images.ports for url in produced)


def test_every_image_has_a_pinned_tag() -> None:
    stages = {line.split()[-1] for line in instructions("FROM")}
    bases = [line.split()[0] for line in instructions("FROM") if line.split()[0] not in stages]
    images = [service["image"] for service in (*SERVICES.values(), *CUDA["services"].values())]
    for image in (*bases, *images):
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*", image), image


def test_the_image_bears_the_version_of_the_project() -> None:
    own = {service["image"] for service in SERVICES.values() if service["image"].startswith(OWN)}
    assert own == {OWN + PROJECT["version"]}
    assert CUDA["services"]["worker"]["image"] == f"{OWN}{PROJECT['version']}-cuda"


def test_the_broker_and_its_tools_are_of_one_version() -> None:
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"]


def test_every_service_that_runs_on_has_a_health_check() -> None:
    for name, service in SERVICES.items():
        has_its_own = "test" in service.get("healthcheck", {})
        inherits = service["image"].startswith(OWN) and "entrypoint" not in service and "healthcheck" not in service
        assert (has_its_own or inherits) == (name not in ONE_SHOT), name
        assert (service.get("restart") == "no") == (name in ONE_SHOT), name


def test_services_wait_for_what_they_need_in_a_way_that_can_come_true() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert how == {"condition": wanted}, f"{name} needs {needed}"


def test_a_drain_is_not_cut_short(settings: Settings) -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > settings.kafka.drain_deadline_s


def test_signals_reach_the_worker() -> None:
    assert instructions("ENTRYPOINT") == ['["image-worker"]']
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert parse(yaml.safe_load(instructions("CMD")[0])).command == "run"


def test_what_the_image_is_built_from_is_there_and_reaches_the_build() -> None:
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    for line in instructions("COPY"):
        words = line.split()
        if not words[0].startswith("--from="):
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in let_in, source


def test_the_targets_that_are_built_exist() -> None:
    stages = {line.split()[-1] for line in instructions("FROM")}
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets | {CUDA["services"]["worker"]["build"]["target"]} == {"cpu", "cuda"} <= stages


def test_the_image_has_a_python_that_the_project_supports_and_runs_as_no_root() -> None:
    versions = {match[1] for line in instructions("FROM") if (match := re.match(r"python:([\d.]+)", line))}
    (version,) = versions
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert f"/python{version.rpartition('.')[0]}/" in str(SERVICES["photographs"]["entrypoint"])
    assert instructions("USER") == ["worker"]
