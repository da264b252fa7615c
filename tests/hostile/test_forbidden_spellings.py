"""Addresses in every spelling: what is forbidden is connected to in none, what is allowed is connected to.

The proof is an audit hook that sees every connection this process tries; names are looked up by a name server that says
of every name that it is this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from tests.hostile.connects import Connects, recorded
from tests.hostile.spellings import ADDRESSES_THAT_ARE_NONE, ALLOWED, FORBIDDEN_BY_RULE, LOOPBACK_SPELLED
from tests.kafka_server import free_ports
from tests.name_server import A, NameServer, Script, name_server
from worker.errors import Reason, Rejected
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference

NewFetcher = Callable[..., Awaitable[Fetcher]]
PORT = free_ports(1)[0]
PUBLIC = "93.184.215.14"
REFUSED = {Reason.FORBIDDEN_ADDRESS, Reason.INVALID_ADDRESS, Reason.HOST_NOT_FOUND, Reason.UNSUPPORTED_SCHEME}
BY_RULE = [(rule, host) for rule, hosts in FORBIDDEN_BY_RULE.items() for host in hosts.split()]


@pytest.fixture
def connects() -> Any:
    with recorded() as found:
        yield found


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    """Every name that is not scripted is this machine."""
    async with name_server() as server:
        server.otherwise = Script([["127.0.0.1"]], [["::1"]])
        yield server


@pytest.fixture
async def fetcher(names: NameServer) -> AsyncIterator[NewFetcher]:
    async with AsyncExitStack() as closing:

        async def start(**settings: Any) -> Fetcher:
            usual: dict[str, Any] = {"ports": (PORT, 80, 443), "retries": 0, "connect_timeout_s": 1}
            made = Fetcher(ImagesSettings(**usual | settings), Metrics(), resolver=names.resolver)
            await made.start()
            closing.push_async_callback(made.close)
            return made

        yield start


async def refusal(fetcher: Fetcher, address: str) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await fetcher.fetch(ImageReference(address=address))
    return caught.value


def test_the_tables_are_long_enough_to_mean_something() -> None:
    assert len(set(LOOPBACK_SPELLED.split())) >= 150
    assert len({host for _, host in BY_RULE}) >= 100
    assert len(set(ALLOWED.split())) >= 40


@pytest.mark.parametrize("host", LOOPBACK_SPELLED.split(), ids=ascii)
async def test_no_spelling_of_this_machine_is_connected_to(fetcher: NewFetcher, connects: Connects, host: str) -> None:
    for scheme in ("http", "https"):
        assert (await refusal(await fetcher(), f"{scheme}://{host}:{PORT}/x")).reason in REFUSED
    assert connects.tried == []


@pytest.mark.parametrize(("rule", "host"), BY_RULE)
async def test_what_is_forbidden_is_refused_by_its_rule_and_not_connected_to(
    fetcher: NewFetcher, connects: Connects, rule: str, host: str
) -> None:
    rejected = await refusal(await fetcher(), f"http://{host}:{PORT}/x")
    assert (rejected.reason, rejected.detail) == (Reason.FORBIDDEN_ADDRESS, f"refused by rule {rule}")
    assert connects.tried == []


@pytest.mark.parametrize("address", ADDRESSES_THAT_ARE_NONE, ids=ascii)
async def test_an_address_that_begins_oddly_is_not_connected_to(
    fetcher: NewFetcher, connects: Connects, address: str
) -> None:
    assert (await refusal(await fetcher(), address.format(port=PORT))).reason in REFUSED
    assert connects.tried == []


@pytest.mark.parametrize("host", ALLOWED.split())
async def test_a_public_address_is_connected_to(fetcher: NewFetcher, connects: Connects, host: str) -> None:
    assert (await refusal(await fetcher(), f"http://{host}:{PORT}/x")).reason is Reason.CONNECTION_FAILED
    assert len(connects.tried) == 1
    assert connects.tried[0][1] == PORT


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "images.example", "[::1]", "１２７.０.０.１"])
async def test_loopback_that_is_allowed_is_connected_to(fetcher: NewFetcher, connects: Connects, host: str) -> None:
    agent = await fetcher(allow_networks=("127.0.0.0/8", "::1/128"))
    assert (await refusal(agent, f"http://{host}:{PORT}/x")).reason is Reason.CONNECTION_FAILED
    assert {where for where, _ in connects.tried} <= {"127.0.0.1", "::1"}
    assert connects.tried


@pytest.mark.parametrize("denied", ["127.0.0.2", "127.0.0.2."])
async def test_a_network_that_is_denied_stays_so_inside_one_that_is_allowed(
    fetcher: NewFetcher, connects: Connects, denied: str
) -> None:
    agent = await fetcher(allow_networks=("127.0.0.0/8",), deny_networks=("127.0.0.2/32",))
    assert (await refusal(agent, f"http://{denied}:{PORT}/")).reason in REFUSED
    assert connects.tried == []
    assert (await refusal(agent, f"http://127.0.0.3:{PORT}/")).reason is Reason.CONNECTION_FAILED
    assert connects.tried == [("127.0.0.3", PORT)]


ALLOW_HOSTS = ("example.com", "bücher.example")
DENY_HOSTS = ("private.example.com", "tracker.net")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "badexample.com",
            "example.com.evil.net",
            "example.co",
            "com",
            "example",
            "xexample.com",
            "example.com-x.net",
        ),
        *("private.example.com", "PRIVATE.Example.COM", "a.private.example.com", "private.example.com.", "tracker.net"),
        *("ｐrivate.example.com", "private。example。com", "a.tracker.net", "127.0.0.1", "1.1.1.1", "bucher.example"),
        *("xn--bcher-kva.example.net", "example.com@evil.net", "evil.net#example.com", "evil.net?.example.com"),
        *("evil.net%2f.example.com", "evil.net%00.example.com", "evil.net%23.example.com"),
    ],
    ids=ascii,
)
async def test_a_host_outside_the_lists_is_neither_connected_to_nor_looked_up(
    fetcher: NewFetcher, connects: Connects, names: NameServer, host: str
) -> None:
    names.otherwise = Script([[PUBLIC]], [[]])
    agent = await fetcher(allow_hosts=ALLOW_HOSTS, deny_hosts=DENY_HOSTS)
    assert (await refusal(agent, f"http://{host}:{PORT}/")).reason in REFUSED
    assert (connects.tried, names.asked) == ([], [])


@pytest.mark.parametrize(
    "host",
    [
        *("example.com", "EXAMPLE.com", "example.com.", "img.example.com", "a.b.example.com", "ｅxample.com"),
        *("notprivate.example.com", "private-example.example.com", "bücher.example", "xn--bcher-kva.example"),
        *("img.BÜCHER.example", "example。com"),
    ],
    ids=ascii,
)
async def test_a_host_of_the_list_is_connected_to(
    fetcher: NewFetcher, connects: Connects, names: NameServer, host: str
) -> None:
    names.otherwise = Script([[PUBLIC]], [[]])
    agent = await fetcher(allow_hosts=ALLOW_HOSTS, deny_hosts=DENY_HOSTS)
    assert (await refusal(agent, f"http://{host}:{PORT}/")).reason is Reason.CONNECTION_FAILED
    assert connects.tried == [(PUBLIC, PORT)]


@pytest.mark.parametrize("port", [0, 1, 22, 25, 79, 81, 2375, 6379, 9092, 65535])
async def test_a_port_that_is_not_agreed_is_not_connected_to(
    fetcher: NewFetcher, connects: Connects, port: int
) -> None:
    assert (await refusal(await fetcher(), f"http://{PUBLIC}:{port}/")).reason in REFUSED
    assert connects.tried == []


@pytest.fixture
async def redirecting(connects: Connects) -> AsyncIterator[Callable[[str], str]]:
    """Addresses of an allowed server, each leading on to the target it was made for."""
    targets: list[str] = []

    async def lead_on(request: web.Request) -> web.Response:
        # Not aiohttp's own redirect, which would tidy the Location up.
        return web.Response(status=302, headers={"Location": targets[int(request.path.strip("/"))]})

    runner = web.AppRunner(application := web.Application(), access_log=None, shutdown_timeout=0.1)
    application.router.add_get("/{number}", lead_on)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.9", 0).start()
    port = runner.addresses[0][1]
    connects.known.add(("127.0.0.9", port))

    def leading_to(target: str) -> str:
        targets.append(target)
        return f"http://127.0.0.9:{port}/{len(targets) - 1}"

    yield leading_to
    await runner.cleanup()


ONWARD = [
    *(f"http://{host}:{{port}}/x" for host in LOOPBACK_SPELLED.split() if host.isascii()),
    *(f"http://{host}:{{port}}/x" for _, host in BY_RULE),
    *(address for address in ADDRESSES_THAT_ARE_NONE if address.isprintable()),
]


@pytest.mark.parametrize("target", ONWARD, ids=ascii)
async def test_a_redirect_to_any_of_them_is_not_followed(
    fetcher: NewFetcher, connects: Connects, redirecting: Callable[[str], str], target: str
) -> None:
    first = redirecting(target.format(port=PORT))
    ports = (PORT, 80, 443, int(first.split(":")[2].split("/")[0]))
    agent = await fetcher(allow_networks=("127.0.0.9/32",), ports=ports)
    # What is relative to the redirecting host leads back to it, where there is no such page.
    assert (await refusal(agent, first)).reason in REFUSED | {Reason.TOO_MANY_REDIRECTS, Reason.HTTP_CLIENT_ERROR}
    assert connects.tried == []


async def test_a_redirect_to_an_allowed_address_is_followed(
    fetcher: NewFetcher, connects: Connects, redirecting: Callable[[str], str]
) -> None:
    first = redirecting(f"http://{PUBLIC}:{PORT}/")
    agent = await fetcher(allow_networks=("127.0.0.9/32",), ports=(PORT, int(first.split(":")[2].split("/")[0])))
    assert (await refusal(agent, first)).reason is Reason.CONNECTION_FAILED
    assert connects.tried == [(PUBLIC, PORT)]


async def test_a_name_that_is_public_first_and_loopback_then_is_connected_to_once(
    fetcher: NewFetcher, connects: Connects, names: NameServer
) -> None:
    names.say("rebinding.example", a=[PUBLIC], then_a=["127.0.0.1"])
    agent = await fetcher()
    assert (await refusal(agent, f"http://rebinding.example:{PORT}/")).reason is Reason.CONNECTION_FAILED
    assert connects.tried == [(PUBLIC, PORT)]
    assert names.asked.count(("rebinding.example", A)) == 1, "what was checked is what is connected to"
    assert (await refusal(agent, "http://rebinding.example:80/")).reason is Reason.FORBIDDEN_ADDRESS
    assert names.asked.count(("rebinding.example", A)) == 2
    assert connects.tried == [(PUBLIC, PORT)]


@pytest.mark.parametrize("addresses", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["10.0.0.1", PUBLIC, "0.0.0.0"]])
async def test_of_a_name_with_both_only_the_public_address_is_connected_to(
    fetcher: NewFetcher, connects: Connects, names: NameServer, addresses: list[str]
) -> None:
    names.say("both.example", a=addresses, aaaa=["::1"])
    await refusal(await fetcher(), f"http://both.example:{PORT}/")
    assert set(connects.tried) == {(PUBLIC, PORT)}


async def test_aliases_are_followed_to_the_address_that_counts(
    fetcher: NewFetcher, connects: Connects, names: NameServer
) -> None:
    names.say("images.example", cname="cdn.example")
    names.say("cdn.example", cname="inside.example")
    names.say("inside.example", a=["169.254.169.254"])
    rejected = await refusal(await fetcher(), f"http://images.example:{PORT}/")
    assert (rejected.reason, rejected.detail) == (Reason.FORBIDDEN_ADDRESS, "refused by rule cloud-metadata")
    names.say("inside.example", a=[PUBLIC])
    assert (await refusal(await fetcher(), f"http://images.example:{PORT}/")).reason is Reason.CONNECTION_FAILED
    assert connects.tried == [(PUBLIC, PORT)]


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"])
async def test_a_name_that_leads_inward_over_ipv6_is_refused(
    fetcher: NewFetcher, connects: Connects, names: NameServer, address: str
) -> None:
    names.say("six.example", aaaa=[address])
    # Without an IPv6 address of its own a machine is not even told of these.
    reason = (await refusal(await fetcher(), f"http://six.example:{PORT}/")).reason
    assert reason in (Reason.FORBIDDEN_ADDRESS, Reason.HOST_NOT_FOUND)
    assert connects.tried == []


async def test_a_name_that_leads_where_it_may_is_fetched(fetcher: NewFetcher, names: NameServer) -> None:
    async def image(_: web.Request) -> web.Response:
        return web.Response(body=b"image")

    runner = web.ServerRunner(web.Server(image), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    names.say("images.example", cname="cdn.example")
    names.say("cdn.example", a=["127.0.0.1"])
    agent = await fetcher(allow_networks=("127.0.0.1/32",), ports=(port,), allow_hosts=("images.example",))
    found = await asyncio.wait_for(agent.fetch(ImageReference(address=f"http://images.example:{port}/")), 20)
    assert found.data == b"image"
    await runner.cleanup()
