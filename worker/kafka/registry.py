"""The schema registry: schemas by id for events in, the id of our schema for events out. Used on the event loop.

An answer is an answer: 404 with one of the registry's own codes means that the schema is unknown. Anything else that
goes wrong (no connection, 5xx, a refused password, the 404 of a proxy with no registry behind it) is an outage, which
waits and is never taken for the record's fault.
"""

from __future__ import annotations

import asyncio
import re
import struct
import time
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigurationError, Fatal, Reason, Rejected, Transient
from worker.kafka.schemas import Schema, parse
from worker.kafka.settings import EventsSettings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import RegisteredSchema
    from confluent_kafka.schema_registry import Schema as RegistrySchema
    from confluent_kafka.schema_registry.error import SchemaRegistryError

_NOT_FOUND = {40401, 40402, 40403}
"""Subject, version or schema not found (docs.confluent.io, "Schema Registry API Reference")."""
_USERINFO = re.compile(r"(?<=//)[^/@]*@")
_UNKNOWN_FOR_S = 30.0
"""How long an unknown id is remembered, so that a flood of such records does not become a flood of look-ups."""


class Registry:
    """A cache in front of the registry's client."""

    def __init__(self, settings: EventsSettings) -> None:
        assert settings.registry_url is not None
        # A fifth of what a worker's start costs, for the few that have a registry.
        from confluent_kafka.schema_registry import AsyncSchemaRegistryClient
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        self.url = _USERINFO.sub("", settings.registry_url)
        """As it is shown: without user and password."""
        # The client's own retries would hide an outage for a minute: ours are the pipeline's, which say so.
        configuration: dict[str, Any] = {"url": settings.registry_url, "max.retries": 0, "timeout": 10.0}
        if settings.registry_username is not None:
            password = settings.registry_password.get_secret_value() if settings.registry_password else ""
            configuration["basic.auth.user.info"] = f"{settings.registry_username}:{password}"
        try:
            self._client = AsyncSchemaRegistryClient(configuration)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"events.registry_url = {self.url!r}: {error}") from error
        self._refusal: type[SchemaRegistryError] = SchemaRegistryError
        self._known: dict[int, Schema] = {}
        self._unknown: dict[int, float] = {}
        self._asked: dict[int, asyncio.Task[Schema]] = {}

    async def schema(self, schema_id: int) -> Schema:
        """The schema by its id. Rejected where the registry does not know it or it is not Avro."""
        schema = self._known.get(schema_id)
        if schema is None:
            self._refuse_unknown(schema_id)
            schema = self._known[schema_id] = await asyncio.shield(self._question(schema_id))
        return schema

    async def register(self, subject: str, schema: Schema) -> int:
        """Register a schema under a subject, and return its id; Fatal where the subject does not take it."""
        try:
            return int(await self._ask(self._client.register_schema(subject, _avro(schema))))
        except self._refusal as error:
            raise Fatal(
                f"the registry at {self.url} does not take the schema under {subject!r} ({error.error_message}): check "
                "the subject's compatibility and versions, or set kafka.topics.results to a topic of the worker's own"
            ) from error

    async def id_of(self, subject: str, schema: Schema) -> int:
        """The id under which a subject has this very schema; Fatal where it has not."""
        try:
            found: RegisteredSchema = await self._ask(self._client.lookup_schema(subject, _avro(schema)))
        except self._refusal as error:
            raise Fatal(
                f"the registry at {self.url} has no such schema under {subject!r} ({error.error_message}): register "
                "it there (the package has it in schemas/), or set events.register_schemas"
            ) from error
        return int(found.schema_id or 0)

    async def compatible(self, subject: str, schema: Schema) -> bool:
        """Whether the registry would take the schema as the subject's next version, or has no version of it yet."""
        try:
            return bool(await self._ask(self._client.test_compatibility(subject, _avro(schema))))
        except self._refusal:
            return True

    async def close(self) -> None:
        for question in self._asked.values():
            question.cancel()
        await self._client.aclose()

    def _question(self, schema_id: int) -> asyncio.Task[Schema]:
        """The one look-up of an id that is under way, whoever waits for it."""
        question = self._asked.get(schema_id)
        if question is None:
            question = self._asked[schema_id] = asyncio.create_task(self._fetch(schema_id))
            question.add_done_callback(lambda done: self._answered(schema_id, done))
        return question

    def _answered(self, schema_id: int, question: asyncio.Task[Schema]) -> None:
        del self._asked[schema_id]
        if not question.cancelled():
            question.exception()  # everyone who asked may be gone

    def _refuse_unknown(self, schema_id: int) -> None:
        if self._unknown.get(schema_id, 0.0) > time.monotonic():
            raise self._unknown_schema(schema_id)

    def _remember_unknown(self, schema_id: int, now_s: float) -> None:
        """Note an unknown id, and forget those whose time is over: they stand in front."""
        self._unknown.pop(schema_id, None)
        while self._unknown and next(iter(self._unknown.values())) <= now_s:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[schema_id] = now_s + _UNKNOWN_FOR_S

    def _unknown_schema(self, schema_id: int) -> Rejected:
        return Rejected(Reason.UNKNOWN_SCHEMA, f"the registry at {self.url} knows no schema with id {schema_id}")

    async def _fetch(self, schema_id: int) -> Schema:
        try:
            found: RegistrySchema = await self._ask(self._client.get_schema(schema_id))
        except self._refusal:
            self._remember_unknown(schema_id, time.monotonic())
            raise self._unknown_schema(schema_id) from None
        if (found.schema_type or "AVRO") != "AVRO" or not found.schema_str:
            raise Rejected(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} is {found.schema_type}, not Avro")
        try:
            return parse(found.schema_str)
        except Exception as error:
            raise Rejected(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} cannot be used: {error}") from error

    async def _ask(self, question: Any) -> Any:
        """Await an answer. SchemaRegistryError is left for what the registry does not have, Transient is the rest."""
        try:
            return await question
        except self._refusal as error:
            if error.http_status_code in (409, 422) or error.error_code in _NOT_FOUND:
                raise
            raise Transient(f"the schema registry at {self.url} answered {error}") from error
        except Exception as error:
            raise Transient(f"the schema registry at {self.url} cannot be reached: {error!r}") from error


def framed(schema_id: int) -> bytes:
    """The five bytes of Confluent framing: a zero and the big-endian id."""
    return struct.pack(">bI", 0, schema_id)


def _avro(schema: Schema) -> RegistrySchema:
    from confluent_kafka.schema_registry import Schema as RegistrySchema

    return RegistrySchema(schema.text, "AVRO")
