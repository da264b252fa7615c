"""Looks at the cluster before the group is joined: is it there, are the topics, may they be read and written?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings

_TIMEOUT_S = 10.0


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

    def topics(self, wanted: Mapping[str, AclOperation]) -> Iterator[Finding]:
        """For each topic and what must be allowed on it: whether it exists, and whether it is allowed."""
        for name, operation in wanted.items():
            topic = self._metadata.topics.get(name)
            yield _missing(name) if topic is None or topic.error else self._allowed(name, topic, operation)

    def _allowed(self, name: str, topic: TopicMetadata, operation: AclOperation) -> Finding:
        count = len(topic.partitions)
        subject, plural = f"topic {name}", "s" if count != 1 else ""
        try:
            future = self._admin.describe_topics(TopicCollection([name]), include_authorized_operations=True)[name]
            allowed = future.result(timeout=_TIMEOUT_S).authorized_operations
        except KafkaException as error:
            return Finding(subject, f"cannot be described: {error.args[0].str()}", "ask for DESCRIBE on the topic")
        if allowed and operation not in allowed and AclOperation.ALL not in allowed:
            verb = operation.name
            return Finding(subject, f"this user may not {verb.lower()} it", f"ask for {verb} on the topic")
        return Finding(subject, f"{count} partition{plural}, {operation.name.lower()} allowed")


def wanted_topics(settings: KafkaSettings, action_topics: Mapping[str, str]) -> dict[str, AclOperation]:
    """The worker's topics, and what it does with each."""
    wanted = {settings.topics.input: AclOperation.READ}
    for name in (settings.topics.results, settings.topics.dead_letters, *action_topics.values()):
        wanted[name] = AclOperation.WRITE
    return wanted


def require_topics(settings: KafkaSettings, action_topics: Mapping[str, str]) -> None:
    """Fatal with one line where a topic is missing or may not be used."""
    look = ClusterLook(settings)
    wrong = [finding for finding in look.topics(wanted_topics(settings, action_topics)) if finding.remedy]
    if wrong:
        raise Fatal("; ".join(f"{finding.subject}: {finding.result}: {finding.remedy}" for finding in wrong))


def _missing(name: str) -> Finding:
    return Finding(
        f"topic {name}", "does not exist", "create it, or set kafka.topics to the names that your cluster has"
    )
