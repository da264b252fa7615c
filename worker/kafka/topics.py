"""Looks at the cluster before the group is joined: is it there, are the topics, may they be read and written?"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._config import ConfigEntry, ConfigResource
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.admin._topic import TopicDescription

from worker.errors import ConfigurationError, Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

_TIMEOUT_S = 10.0
_DESCRIBE_S = 3.0
_AGAIN_S, _KNOWN_S = 0.2, 2.0
"""A topic that was created just now is not known to every broker yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is empty where all is well."""

    subject: str
    result: str
    remedy: str = ""


class ClusterLook:
    """The cluster's metadata, read once. Blocks for up to ten seconds; Fatal where no broker answers."""

    def __init__(self, settings: KafkaSettings) -> None:
        errors = ClientErrors("admin")
        self._admin = open_client(AdminClient, client_properties(settings), errors)
        try:
            self._metadata: ClusterMetadata = self._admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            self._admin.poll(0)
            raise Fatal(
                f"no Kafka broker answered at {settings.bootstrap_servers}: {errors.newest or error.args[0].str()}; "
                "check kafka.bootstrap_servers, the network, and the security properties in kafka.properties"
            ) from error
        self.brokers = len(self._metadata.brokers)

    def missing(self, names: Iterable[str]) -> list[Finding]:
        """Those of the topics that do not exist."""
        return [_missing(name) for name in names if self.partitions(name) is None]

    def topics(self, wanted: Mapping[str, AclOperation]) -> Iterator[Finding]:
        """For each topic and what must be allowed on it: whether it exists, and whether it is allowed."""
        existing = [name for name in wanted if self.partitions(name) is not None]
        allowed = self._allowed(existing) if existing else {}
        for name, operation in wanted.items():
            count = self.partitions(name)
            yield _missing(name) if count is None else _judge(name, count, operation, allowed.get(name))
        yield from self.too_few_replicas(name for name in existing if wanted[name] == AclOperation.WRITE)

    def too_few_replicas(self, names: Iterable[str]) -> Iterator[Finding]:
        """Those of the existing topics that have fewer replicas than they ask for.

        Older brokers then refuse every record; Apache Kafka 4.3.1 takes them (seen), on fewer replicas than was meant.
        """
        for name, least in self._least_in_sync(list(names)).items():
            replicas = min(len(each.replicas) for each in self._metadata.topics[name].partitions.values())
            if replicas < least:
                yield Finding(
                    f"topic {name}",
                    f"has {replicas} replica{'s' if replicas != 1 else ''} and min.insync.replicas={least}: records "
                    "are refused, or safe on fewer replicas than was meant",
                    "give its partitions more replicas (kafka-reassign-partitions), or lower min.insync.replicas",
                )

    def _least_in_sync(self, names: list[str]) -> dict[str, int]:
        """The topics' `min.insync.replicas`, for those of which the cluster says it."""
        if not names:
            return {}
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        found = self._admin.describe_configs(resources, request_timeout=_DESCRIBE_S)
        least = {resource.name: _setting(future, "min.insync.replicas") for resource, future in found.items()}
        return {name: int(value) for name, value in least.items() if value is not None}

    def partitions(self, name: str) -> int | None:
        """How many partitions a topic has; None where it does not exist."""
        topic = self._metadata.topics.get(name)
        return None if topic is None or topic.error else len(topic.partitions)

    def _allowed(self, names: list[str]) -> dict[str, Collection[AclOperation] | None]:
        """What this user may do with each topic; None where the cluster does not say."""
        futures = self._admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=_DESCRIBE_S
        )
        return {name: _operations(future) for name, future in futures.items()}


def wanted_topics(settings: KafkaSettings, action_topics: Mapping[str, str]) -> dict[str, AclOperation]:
    """The worker's topics, and what it does with each.

    Raises ConfigurationError where it would write to the topic that it reads, and so feed itself without end.
    """
    topics = settings.topics
    written = {"kafka.topics.results": topics.results, "kafka.topics.dead_letters": topics.dead_letters}
    written |= {f"policy.topics.{action}": name for action, name in action_topics.items()}
    for key, name in written.items():
        if name == topics.input:
            raise ConfigurationError(f"{key}: {name} is the topic of events (kafka.topics.input): name another one")
    return {topics.input: AclOperation.READ, **dict.fromkeys(written.values(), AclOperation.WRITE)}


def require_topics(settings: KafkaSettings, action_topics: Mapping[str, str]) -> None:
    """Fatal with one line where a topic is missing, or read and written; a warning where one has too few replicas."""
    wanted = wanted_topics(settings, action_topics)
    look = ClusterLook(settings)
    written = [name for name, operation in wanted.items() if operation == AclOperation.WRITE]
    deadline_s = time.monotonic() + _KNOWN_S
    while wrong := look.missing(wanted):
        if time.monotonic() >= deadline_s:
            raise Fatal("; ".join(f"{finding.subject}: {finding.result}: {finding.remedy}" for finding in wrong))
        time.sleep(_AGAIN_S)
        look = ClusterLook(settings)
    for finding in look.too_few_replicas(written):
        log.warning("kafka.too_few_replicas", topic=finding.subject, found=finding.result, next=finding.remedy)


def _missing(name: str) -> Finding:
    return Finding(
        f"topic {name}",
        "does not exist",
        "create it, or set kafka.topics to the names that your cluster has; one that this user may not DESCRIBE looks "
        "the same",
    )


def _operations(future: Future[TopicDescription]) -> Collection[AclOperation] | None:
    try:
        operations: Collection[Any] | None = future.result(timeout=2 * _DESCRIBE_S).authorized_operations
        return operations
    except (KafkaException, TimeoutError):
        # An old or embedded cluster does not know the request; whether it allows the use shows when it is used.
        return None


def _setting(future: Future[dict[str, ConfigEntry]], name: str) -> str | None:
    try:
        entry = future.result(timeout=2 * _DESCRIBE_S).get(name)
    except (KafkaException, TimeoutError):
        # Not every user may ask for it; what it forbids shows when a record is written.
        return None
    return entry.value if entry is not None else None


def _judge(name: str, count: int, operation: AclOperation, allowed: Collection[AclOperation] | None) -> Finding:
    subject, verb = f"topic {name}", operation.name.lower()
    size = f"{count} partition{'s' if count != 1 else ''}"
    if allowed is None:
        return Finding(subject, f"{size}; the cluster does not say whether this user may {verb} it")
    if operation not in allowed and AclOperation.ALL not in allowed:
        return Finding(subject, f"{size}; this user may not {verb} it", f"ask for {operation.name} on the topic")
    return Finding(subject, f"{size}; this user may {verb} it")
