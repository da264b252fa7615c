"""Topics made like others: where a replay writes, unless it is told otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource, ConfigSource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.patience import UNATTENDED_S, patiently
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings
from worker.kafka.topics import ClusterLook

T = TypeVar("T")

log = structlog.get_logger(__name__)

_TIMEOUT_S = 10.0
_OF_ITS_BROKERS = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")
"""Configuration that names the replicas of one topic."""


def make_twins(settings: KafkaSettings, twins: Mapping[str, str]) -> None:
    """Create each topic that is missing, with the partitions, replicas and configuration of the other one it is given.

    Fatal where the cluster does not let it.
    """
    missing = {name for name in twins if ClusterLook(settings).partitions(name) is None}
    admin = open_client(AdminClient, client_properties(settings), ClientErrors("admin"))
    for name in missing:
        try:
            patiently(partial(_create, admin, name, twins[name]), UNATTENDED_S)
        except KafkaException as error:
            problem = error.args[0]
            if problem.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                continue
            if problem.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise Fatal(
                    f"topic {twins[name]} does not exist, like which {name} would be made: create that one, or name "
                    "topics that are there with --output and --dead-letters"
                ) from error
            raise Fatal(
                f"topic {name} cannot be created: {problem.str()}: create it like {twins[name]}, or name "
                "topics that are there with --output and --dead-letters"
            ) from error
    _await(settings, missing)


def _await(settings: KafkaSettings, names: set[str]) -> None:
    """Wait until the brokers know of topics that the controller has created."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while wrong := ClusterLook(settings).missing(names):
        if time.monotonic() >= deadline_s:
            raise Fatal(
                f"{wrong[0].subject} was created, and is not there after {_TIMEOUT_S:.0f} s: start again, "
                "or ask for DESCRIBE on it"
            )


def _create(admin: AdminClient, name: str, like: str) -> None:
    found = _only(admin.describe_topics(TopicCollection([like]), request_timeout=_TIMEOUT_S))
    partitions, replicas = len(found.partitions), len(found.partitions[0].replicas)
    config = _config(admin, like)
    topic = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=config)
    _only(admin.create_topics([topic], operation_timeout=_TIMEOUT_S))
    log.info("replay.topic_created", topic=name, like=like, partitions=partitions, replicas=replicas, **config)


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    """What is set for the topic itself."""
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=_TIMEOUT_S)
    return {
        entry.name: entry.value
        for entry in _only(asked).values()
        if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value and entry.name not in _OF_ITS_BROKERS
    }


def _only(futures: Mapping[Any, Future[T]]) -> T:
    (future,) = futures.values()
    return future.result()
