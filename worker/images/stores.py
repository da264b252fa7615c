"""Images in object stores: s3://, gs:// and az://, in the buckets that the operator names and in no other.

The guard has no say here: where the store is, is the operator's choice (the environment's AWS_ENDPOINT_URL and its
like), and nothing that an event says changes it. Credentials come from the usual chain of each cloud: environment, web
identity, instance metadata. `obstore` is an extra: `pip install 'image-worker[objects]'`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigurationError, Reason, Rejected, Transient
from worker.images.answers import MayPass, forbidden, too_large
from worker.images.budget import ByteBudget
from worker.images.deadline import Deadline
from worker.images.settings import ImagesSettings
from worker.images.traffic import Traffic, Turn
from worker.records import EncodedImage

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
_CHUNK_BYTES = 1024 * 1024
_UNLIKELY_KEY = "image-worker-asks-whether-this-bucket-answers"


class Stores:
    """The operator's buckets. Owned by the event loop."""

    def __init__(self, settings: ImagesSettings, budget: ByteBudget, traffic: Traffic) -> None:
        """Raises ConfigurationError where a bucket is named and obstore is missing, or refuses what it is told."""
        self._max_bytes = settings.max_bytes
        self._budget = budget
        self._traffic = traffic
        self._stores = {bucket: _open(bucket, settings) for bucket in settings.buckets}
        self._read_before: dict[str, str] = {}
        """Of each bucket, the key of the object that was read last."""

    async def get(self, address: str, deadline: Deadline) -> EncodedImage:
        """One object. The key is taken as it stands after the bucket: nothing in it is decoded.

        Raises Rejected where that is final, MayPass where another try may help.
        """
        bucket, key = _split(address)
        store = self._stores.get(bucket)
        if store is None:
            raise forbidden("buckets")
        async with self._traffic.turn(bucket, deadline) as turn:
            image = await self._read(store, key, turn)
        self._read_before[bucket] = key
        return image

    async def verdict(self, failure: MayPass | Rejected, bucket: str) -> Rejected | Transient:
        """Whom a failure is blamed on. A bucket is the operator's own: where nothing can be read, records wait."""
        if isinstance(failure, Rejected) and failure.reason is not Reason.ACCESS_DENIED:
            return failure
        if await self._can_be_read(bucket):
            return failure if isinstance(failure, Rejected) else Rejected(failure.reason, failure.detail)
        return Transient(f"{bucket} cannot be read any more: {failure.detail}")

    async def _can_be_read(self, bucket: str) -> bool:
        """Whether the bucket gives what it gave before; where it never gave anything, whether it answers at all."""
        import obstore
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        key = self._read_before.get(bucket)
        try:
            await obstore.head_async(self._stores[bucket], key or _UNLIKELY_KEY)
        except FileNotFoundError:
            return True
        except (PermissionDeniedError, UnauthenticatedError):
            # Stores also say so of what does not exist, so it tells of the credentials only where they were good once.
            return key is None
        except BaseError:
            return False
        return True

    async def _read(self, store: ObjectStore, key: str, turn: Turn) -> EncodedImage:
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = await obstore.get_async(store, key)
            return await self._image(found, turn)
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise _verdict(error) from None

    async def _image(self, found: GetResult, turn: Turn) -> EncodedImage:
        size = found.meta["size"]
        if size > self._max_bytes:
            raise too_large(self._max_bytes)
        if not self._budget.take_now(size):
            with turn.waiting_for_us():
                await self._budget.take(size)
        try:
            data = await _body(found.stream(min_chunk_size=_CHUNK_BYTES), size)
        except BaseException:
            self._budget.give_back(size)
            raise
        return self._budget.hold(data, size)


async def _body(stream: AsyncIterator[Any], size: int) -> bytes:
    """The whole object, counted as it comes: neither more nor less than its head said."""
    chunks, left = [], size
    async for chunk in stream:
        left -= len(chunk)
        if left < 0:
            break
        chunks.append(bytes(chunk))
    if left != 0:
        raise MayPass(Reason.CONNECTION_FAILED, "the object has another size than the store said")
    return b"".join(chunks)


def bucket_of(address: str) -> str:
    """`scheme://bucket` of an object's address."""
    return _split(address)[0]


def _split(address: str) -> tuple[str, str]:
    """`scheme://bucket` and the key."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise Rejected(Reason.INVALID_ADDRESS, f"an address of an object is {scheme.lower()[:5]}://bucket/key")
    return f"{scheme.lower()}://{bucket}", key


def _open(bucket: str, settings: ImagesSettings) -> ObjectStore:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError:
        raise ConfigurationError(
            "images.buckets names object stores, and obstore is not installed: pip install 'image-worker[objects]'"
        ) from None
    scheme, _, name = bucket.partition("://")
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
            "timeout": timedelta(seconds=settings.total_timeout_s),
            "allow_http": True,  # only where the operator's own endpoint is one of plain HTTP
            "user_agent": settings.user_agent,
        },
        "retry_config": {"max_retries": 0},  # the fetcher's retries know the record's deadline
    }
    try:
        match scheme:
            case "s3":
                return S3Store(name, **options)
            case "gs":
                return GCSStore(name, **options)
            case _:
                return AzureStore(name, **options)
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"images.buckets: {bucket} cannot be used: {str(error).splitlines()[0]}") from None


def _verdict(error: Exception) -> Rejected | MayPass:
    """What an error of obstore means for the record. Its own text may hold the store's answer: it is left out."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    match error:
        case PermissionDeniedError() | UnauthenticatedError():
            return Rejected(Reason.ACCESS_DENIED, "the store refused the credentials that this worker has")
        case FileNotFoundError():
            return Rejected(Reason.NOT_FOUND, "the bucket has no such object")
        case ValueError():
            return Rejected(Reason.INVALID_ADDRESS, "the object's key has empty segments, or . or ..")
    return MayPass(Reason.CONNECTION_FAILED, "the object store did not give the object")
