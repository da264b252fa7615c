"""What is made of the topic's id. The broker's answers are put in by hand here; see tests/broker/test_made_again.py."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid
from confluent_kafka.admin._topic import TopicDescription
from structlog.typing import EventDict

from tests.clusters import Cluster
from worker.errors import Fatal
from worker.kafka import topic_id
from worker.kafka.poll_errors import Gap
from worker.kafka.progress import Progress
from worker.kafka.topic_id import TopicWatch, told_id
from worker.settings import resolve

NO_IDS, OLD, NEW = Uuid(0, 0), Uuid(1, 1), Uuid(2, 2)


def answered(told: Uuid | int) -> Future[TopicDescription]:
    """A broker's answer: an id, or an error's code."""
    future: Future[TopicDescription] = Future()
    if isinstance(told, int):
        future.set_exception(KafkaException(KafkaError(told)))
    else:
        future.set_result(TopicDescription("images", told, False, []))
    return future


@dataclass
class Broker:
    """Answers what it is told to, or later where it is told nothing."""

    questions: list[Future[TopicDescription]] = field(default_factory=list)
    answer: Uuid | int | None = OLD

    def ask(self, *_: object) -> Future[TopicDescription]:
        self.questions.append(Future() if self.answer is None else answered(self.answer))
        return self.questions[-1]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(topic_id, "ask_id", broker.ask)
    return broker


def watch(*flags: str, replay: bool = False) -> TopicWatch:
    always = 'kafka.consumer_properties."topic.metadata.refresh.interval.ms"=1'
    wanted = ["kafka.bootstrap_servers=127.0.0.1:1", "kafka.group_id=group", "kafka.topics.input=images", *flags]
    return TopicWatch(resolve(None, [always, *wanted], {}).settings.kafka, replay=replay)


def said(logs: list[EventDict]) -> list[str]:
    """Beside that nobody is at the address."""
    return [line["event"] for line in logs if line["event"] != "kafka.client_error"]


def looks(watched: TopicWatch, broker: Broker, count: int) -> None:
    """Look until so many questions more were asked."""
    wanted = len(broker.questions) + count
    while len(broker.questions) < wanted:
        watched.look()


def test_the_id_is_as_kafka_writes_it_and_there_is_none_where_brokers_give_none() -> None:
    assert told_id(answered(Uuid(-7951446423102274225, -8738576501618872579))) == "kabJm1RwRU+Gulb4gm5u/Q"
    assert told_id(answered(NO_IDS)) is None


def test_while_it_is_the_same_nothing_is_said(broker: Broker) -> None:
    watched = watch()
    looks(watched, broker, 3)
    assert watched.now() == str(OLD)
    watched.check(0, Progress(5, topic_id=str(OLD)))
    watched.check(0, Progress(5))


def test_a_topic_that_was_there_and_is_not_known_for_long_is_deleted(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_id, "_ASK_S", 0.001)
    now_s = [100.0]
    monkeypatch.setattr(topic_id.time, "monotonic", lambda: now_s[0])

    def look(answer: Uuid | int, seconds: float) -> None:
        broker.answer = answer
        now_s[0] += seconds
        watched.look()
        watched.look()

    watched = watch()
    look(OLD, 0)
    for elsewise in (OLD, KafkaError._TIMED_OUT):
        look(KafkaError.UNKNOWN_TOPIC_OR_PART, 29)
        look(elsewise, 29)
    look(KafkaError.UNKNOWN_TOPIC_OR_PART, 29)
    look(KafkaError.UNKNOWN_TOPIC_OR_PART, 29)
    with pytest.raises(Gap, match="images was deleted"):
        look(KafkaError.UNKNOWN_TOPIC_OR_PART, 1)


def test_a_topic_that_never_was_there_is_none_that_was_deleted(
    broker: Broker, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_id, "_GONE_S", 0.0)
    broker.answer = KafkaError.UNKNOWN_TOPIC_OR_PART
    looks(watch(), broker, 3)
    assert said(logs) == ["kafka.topic_id_unknown"]


def test_a_look_waits_for_no_answer(broker: Broker) -> None:
    broker.answer = None
    watched = watch()
    for _ in range(3):
        watched.look()
    assert len(broker.questions) == 1


def test_another_id_stops_it_at_a_look_and_at_an_assignment(broker: Broker) -> None:
    at_work = watch()
    assert at_work.now() == str(OLD)
    broker.answer = NEW
    with pytest.raises(
        Gap, match=f"images was deleted and made again.* was {OLD}, and is {NEW} now.*set --group group"
    ):
        looks(at_work, broker, 2)
    broker.answer = OLD
    assigned = watch()
    assigned.now()
    broker.answer = NEW
    with pytest.raises(Gap, match="made again"):
        assigned.now()


@pytest.mark.parametrize(
    ("replay", "way_on"), [(False, "offsets set --group group --to beginning$"), (True, "choose another --id$")]
)
def test_a_commit_for_another_topic_stops_it_and_says_how_to_go_on(broker: Broker, replay: bool, way_on: str) -> None:
    watched = watch(replay=replay)
    watched.now()
    what = rf"images\[3\]: offset 5 was committed .* {NEW}: it was deleted and made again, and has {OLD} now; .*"
    with pytest.raises(Fatal, match=what + way_on):
        watched.check(3, Progress(5, topic_id=str(NEW)))


@pytest.mark.parametrize(
    "told", [NO_IDS, KafkaError._TIMED_OUT, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNSUPPORTED_VERSION]
)
def test_a_cluster_that_does_not_say_it_is_gone_on_with_and_named_once(
    broker: Broker, logs: list[EventDict], told: Uuid | int
) -> None:
    broker.answer = told
    watched = watch()
    assert watched.now() is None
    assert watched.now() is None
    assert len(broker.questions) == 1, "it waits no second time"
    looks(watched, broker, 3)
    assert said(logs) == ["kafka.topic_id_unknown"]
    broker.answer = OLD
    looks(watched, broker, 2)
    assert watched.now() == str(OLD), "once it is said, it is asked for again"


def test_what_a_commit_named_holds_where_the_cluster_says_the_id_only_later(broker: Broker) -> None:
    broker.answer = KafkaError._TIMED_OUT
    watched = watch()
    assert watched.now() is None
    watched.check(0, Progress(5, topic_id=str(OLD)))
    broker.answer = NEW
    with pytest.raises(Gap, match="made again"):
        looks(watched, broker, 3)


def test_an_outage_changes_nothing_of_what_is_known(broker: Broker, logs: list[EventDict]) -> None:
    watched = watch()
    assert watched.now() == str(OLD)
    broker.answer = KafkaError._TIMED_OUT
    looks(watched, broker, 2)
    assert watched.now() is None
    assert said(logs) == []
    broker.answer = NEW
    with pytest.raises(Gap, match="made again"):
        watched.now()


def test_the_embedded_cluster_does_not_say_it(embedded: Cluster, logs: list[EventDict]) -> None:
    watched = watch(f"kafka.bootstrap_servers={embedded.bootstrap_servers}")
    assert watched.now() is None
    assert [line["event"] for line in logs if line["event"] == "kafka.topic_id_unknown"]
