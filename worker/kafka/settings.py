"""The knobs of the Kafka wing: how the cluster is reached, how much is taken in, how events are read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from worker.kafka.owned import check_properties
from worker.knobs import Section

Properties = dict[str, str | int | float | bool]


class TopicsSettings(Section):
    """The three topics of the worker. It creates none of them."""

    input: str = Field("images", min_length=1, description="Topic of image-reference events.")
    results: str = Field("classifications", min_length=1, description="Topic of classification events.")
    dead_letters: str = Field(
        "images-dead-letters", min_length=1, description="Topic of the records that could not be done."
    )


class KafkaSettings(Section):
    """How the cluster is reached, and how much of the topic is held at once."""

    bootstrap_servers: str = Field(
        "localhost:9092", min_length=1, description="host:port of one or more brokers, with commas between."
    )
    group_id: str = Field("image-worker", min_length=1, description="Consumer group shared by all workers.")
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic",
        description="`classic` (cooperative-sticky) works on every cluster; `consumer` (KIP-848, Kafka 4.0 or newer) "
        "rebalances faster.",
    )
    group_instance_id: str | None = Field(
        None,
        min_length=1,
        description="For static membership (KIP-345): a name for this worker that is the same after a restart, and "
        "never that of another. A restart within the session then moves no partition. Left out, there is none.",
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where a new group begins in a partition. `earliest` loses nothing. A partition that is added "
        "later is read from its beginning.",
    )
    topics: TopicsSettings = TopicsSettings()
    delivery: Literal["at-least-once", "exactly-once"] = Field(
        "at-least-once",
        description="`exactly-once` publishes outcomes and commits offsets in one transaction, so that readers with "
        "`read_committed` see each outcome once; `at-least-once` repeats some after a crash, with the same ids.",
    )
    order: Literal["source", "none"] = Field(
        "source",
        description="`source` publishes the outcomes of a partition in the order of its events; `none` each as it is "
        "done, so that a slow image holds back no other. Offsets are committed as prefixes either way.",
    )
    transactional_id: str | None = Field(
        None,
        min_length=1,
        description="For exactly-once: this worker's `transactional.id`, the same after a restart and never that of "
        "another one. Left out, it is the group's id, the host's name and a number that is free there.",
    )
    transaction_timeout_s: float = Field(
        10.0,
        ge=2,
        le=60,
        description="For exactly-once: seconds after which the broker aborts the transaction of a worker that died. "
        "So long its readers and the next owner of its partitions may wait, hence no longer than a minute.",
    )
    max_at_work: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Records worked on at once, in all partitions. Must be several batches deep, so that the model "
        "never waits. Those that wait for a host in trouble, or are done and wait for an earlier one, do not count.",
    )
    max_in_flight: int = Field(
        16_384,
        ge=1,
        le=1_000_000,
        description="Records taken in and not yet settled, in all partitions. Outcomes go out in order, so a host that "
        "stalls for 40 s holds back what came after it: 400 images a second go on with 16,000. Some 11 KiB each.",
    )
    max_in_flight_bytes: int = Field(
        64 * 2**20,
        ge=2**20,
        description="Bytes of keys, values and headers of the records in flight. Matters where the values are images.",
    )
    prefetch_bytes: int = Field(
        16 * 2**20,
        ge=2**20,
        description="Bytes that librdkafka fetches ahead of the worker (`queued.max.messages.kbytes`).",
    )
    max_record_bytes: int = Field(
        8 * 2**20,
        ge=1024,
        description="Largest record that is fetched or published at once; keep it above the topics' "
        "`max.message.bytes`, so that a dead letter can carry the value it refuses.",
    )
    settle_interval_ms: int = Field(
        50,
        ge=0,
        le=10_000,
        description="Under load, milliseconds between two settlement cycles; four times as many at most where a cycle "
        "takes long. With little else in flight an outcome is settled at once.",
    )
    drain_deadline_s: float = Field(
        30.0,
        gt=0,
        le=240,
        description="Seconds that a shutdown or a rebalance waits for the work in flight; what is not done by then is "
        "left to the next owner. Keep it below the orchestrator's grace period.",
    )
    stuck_after_s: float = Field(
        300.0,
        gt=0,
        description="Seconds after which a record that is taken in and not settled, or a partition that is assigned "
        "and not begun or cannot be fetched, is said to be stuck: in the log, in a metric, and by /readyz. Above what "
        "an image may take, its fetch's retries included.",
    )
    properties: Properties = Field(
        default_factory=dict,
        description="librdkafka properties for consumer and producer alike, such as `security.protocol`.",
    )
    consumer_properties: Properties = Field(
        default_factory=dict, description="librdkafka properties for the consumer alone."
    )
    producer_properties: Properties = Field(
        default_factory=dict, description="librdkafka properties for the producer alone."
    )

    @field_validator("properties", "consumer_properties", "producer_properties")
    @classmethod
    def _keep_the_promises(cls, value: Properties) -> Properties:
        return check_properties(value)


class FieldsSettings(Section):
    """Where an event's fields are, as paths with dots, so that an existing topic need not change."""

    url: str = Field("url", min_length=1, description="Path of the image's address, such as `media.url`.")
    id: str = Field("id", min_length=1, description="Path of an id that is passed on, if the event has one.")
    sha256: str = Field("sha256", min_length=1, description="Path of the image's digest, checked if it is there.")


class EventsSettings(Section):
    """How events are read and outcomes written."""

    encoding: Literal["auto", "confluent", "single-object", "json", "image"] = Field(
        "auto",
        description="Encoding of the values that come in. `auto` tells them apart by their first bytes.",
    )
    output_encoding: Literal["auto", "json"] = Field(
        "auto",
        description="Encoding of classification events. `auto` is Avro: with Confluent framing where a registry is "
        "set, else single-object encoding.",
    )
    fields: FieldsSettings = FieldsSettings()
    top_k: int = Field(5, ge=1, le=1000, description="How many scores a classification event carries, best first.")
    schema_files: tuple[Path, ...] = Field(
        (), description="Avro schemas (`.avsc`) of your own events in single-object encoding."
    )
    registry_url: str | None = Field(None, description="Address of the schema registry, if there is one.")
    registry_username: str | None = Field(None, description="User for the registry's basic authentication.")
    registry_password: SecretStr | None = Field(None, description="Password for the registry.")
    register_schemas: bool = Field(
        False,
        description="Register the classification schema at start. Off, because in production schemas are registered "
        "by those who own them; the worker then looks it up.",
    )
