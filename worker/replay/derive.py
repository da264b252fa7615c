"""The settings of a replay, derived from the live ones: another group, other topics, another port."""

from __future__ import annotations

from worker.errors import ConfigurationError
from worker.replay.request import Request
from worker.settings import Settings

_LONGEST_NAME = 249
"""Of a topic, in Kafka."""


def derived(settings: Settings, request: Request, identity: str, *, port_is_told: bool) -> Settings:
    """The settings of the replay with this id. Raises ConfigurationError where its topics cannot be.

    It writes to no topic of the live worker's unless that is named. Results that have a topic of their own for their
    action go there where the live results were named, else to the replay's output with the others.
    """
    suffix, kafka = f".replay.{identity}", settings.kafka
    live = kafka.topics
    topics = live.model_copy(
        update={
            "results": _topic("--output", request.output, live.results + suffix, live.input),
            "dead_letters": _topic("--dead-letters", request.dead_letters, live.dead_letters + suffix, live.input),
        }
    )
    own_id = kafka.transactional_id
    group = {
        "group_id": kafka.group_id + suffix,
        "topics": topics,
        # A partition that is not of the replay is read from somewhere, too, and its records are dropped.
        "start": "earliest",
        # Of the group's and the host's names where there is none: then it is another one by itself.
        "transactional_id": own_id and own_id + suffix,
        # Processes that share it have one command line, and the partitions of one that died must not wait for it.
        "group_instance_id": None,
    }
    policy = settings.policy if topics.results == live.results else settings.policy.model_copy(update={"topics": {}})
    # The live worker may be on this machine, with the same settings file.
    observe = settings.observe if port_is_told else settings.observe.model_copy(update={"port": 0})
    # The labels are loaded. A change of their file would make another model of it half way.
    model = settings.model.model_copy(update={"labels_file": None})
    return settings.model_copy(
        update={"kafka": kafka.model_copy(update=group), "policy": policy, "observe": observe, "model": model},
    )


def _topic(option: str, told: str | None, own: str, source: str) -> str:
    name = told or own
    if name == source:
        raise ConfigurationError(f"{option} {name}: this is the topic that is replayed: name another one")
    if len(name) > _LONGEST_NAME:
        raise ConfigurationError(f"topic {name} has {len(name)} characters, more than Kafka takes: name one: {option}")
    return name
