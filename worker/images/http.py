"""One HTTP request for an image, hop by hop, through the guard. Retries are `fetch.py`'s."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import AsyncResolver
from yarl import URL

from worker.errors import Reason, Rejected
from worker.images.answers import check_status, forbidden, too_large, verdict
from worker.images.budget import ByteBudget
from worker.images.deadline import Deadline
from worker.images.guard import Guard
from worker.images.settings import ImagesSettings
from worker.images.traffic import Traffic, Turn
from worker.images.witnesses import Origin
from worker.records import EncodedImage

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUFFER_BYTES = 256 * 1024
"""What aiohttp buffers of one connection before anybody reads the body: twice its 64 KiB, and the kernel's part."""

_MAX_HEADERS = 128
_MAX_HEADER_BYTES = 8190
_LOOKUP_S = 2.0
_LOOKUPS = 2


def system_resolver() -> AbstractResolver:
    """Looks names up as /etc/resolv.conf and /etc/hosts say, without threads that a slow name could use up."""
    return AsyncResolver(timeout=_LOOKUP_S, tries=_LOOKUPS)


_READ_IN_OTHER_WAYS = re.compile(r"[\\\x00-\x1f\x7f]")

_refusals: ContextVar[list[str]] = ContextVar("refusals")
"""Rules that refused an address of the hop under way. aiohttp tries a name's next address and merges the errors."""


class Http:
    """HTTP and HTTPS through the guard. Owned by the event loop."""

    def __init__(
        self,
        settings: ImagesSettings,
        guard: Guard,
        budget: ByteBudget,
        traffic: Traffic,
        resolver: Callable[[], AbstractResolver],
        *,
        answered: Callable[[Origin], None],
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._budget = budget
        self._traffic = traffic
        self._resolver = resolver
        self._answered = answered
        self._session: aiohttp.ClientSession | None = None

    def memory_bytes(self) -> int:
        """What the connections buffer at most, before a fetch has its share of the budget."""
        return 2 * self._settings.max_connections * _BUFFER_BYTES  # those under way, and those held up

    async def start(self) -> None:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # `Traffic` counts, and knows which hosts are in trouble
                resolver=self._resolver(),
                socket_factory=self._guarded_socket,
            ),
            headers={"User-Agent": settings.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_timeout_s, sock_read=settings.read_timeout_s
            ),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, address: URL, deadline: Deadline) -> EncodedImage:
        """Follow the address, each hop under the whole policy, and read the image.

        Raises Rejected where that is final, MayPass where another try may help.
        """
        for _ in range(self._settings.max_redirects + 1):
            self._check(address)
            async with self._traffic.turn(str(origin(address)), deadline) as turn:
                found = await self._hop(address, turn)
            if isinstance(found, EncodedImage):
                return found
            address = found
        raise Rejected(Reason.TOO_MANY_REDIRECTS, f"more than {self._settings.max_redirects} redirects")

    def _check(self, address: URL) -> None:
        if address.raw_user is not None or address.raw_password is not None:
            raise forbidden("userinfo")
        rule = self._guard.refuse_url(address.scheme, address.raw_host or "", address.port)
        if rule is not None:
            raise forbidden(rule)

    async def _hop(self, address: URL, turn: Turn) -> EncodedImage | URL:
        assert self._session is not None, "Http.start() comes first"
        refusals: list[str] = []
        _refusals.set(refusals)
        try:
            async with self._session.get(address, allow_redirects=False) as response:
                self._answered(origin(address))
                if response.status in _REDIRECTS:
                    return _target(address, response)
                check_status(response)
                return await self._image(response, turn)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            if refusals and isinstance(error, aiohttp.ClientConnectorError):
                raise forbidden(refusals[0]) from None
            raise verdict(error, address.raw_host or "") from None

    async def _image(self, response: aiohttp.ClientResponse, turn: Turn) -> EncodedImage:
        """Read the body, once there is memory for it."""
        limit = self._settings.max_bytes
        declared = response.content_length
        if declared is not None and declared > limit:
            raise too_large(limit)
        share = limit if declared is None else declared
        if not self._budget.take_now(share):
            with turn.waiting_for_us():
                await self._budget.take(share)
        try:
            data = await _body(response, share)
        except BaseException:
            self._budget.give_back(share)
            raise
        return self._budget.hold(data, share)

    def _guarded_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket for a numeric address, or refuse: every connection passes here, whatever named it."""
        family, kind, protocol, _, target = address
        rule = self._guard.refuse_address(str(target[0]))
        if rule is not None:
            _refusals.get().append(rule)
            raise PermissionError(errno.EACCES, "forbidden by the policy")
        return socket.socket(family, kind, protocol)


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, counted as it comes: never more than the limit, and never a part of what was declared."""
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def origin(address: URL) -> Origin:
    """The host and port of an address that the policy allows."""
    return Origin(address.raw_host or "", address.port or 0)


def _target(address: URL, response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise Rejected(Reason.INVALID_RESPONSE, f"status {response.status} without a Location")
    return parse(location, base=address)


def parse(address: str, *, base: URL | None = None) -> URL:
    """Parse an address, once and for all: what is checked and connected to is what this gives. `base`: it is a
    redirect's, and may be relative.

    Raises Rejected(INVALID_ADDRESS) also for what other parsers read in other ways: backslashes and control characters.
    """
    if _READ_IN_OTHER_WAYS.search(address):
        raise Rejected(Reason.INVALID_ADDRESS, "the address holds backslashes or control characters")
    try:
        url = URL(address) if base is None else base.join(URL(address))
        origin(url)  # yarl looks at some parts only when they are asked for
    except (ValueError, UnicodeError):
        raise Rejected(Reason.INVALID_ADDRESS, "the address cannot be parsed") from None
    return url
