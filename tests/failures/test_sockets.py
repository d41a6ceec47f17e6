"""Connecting to names: several addresses are tried in turn, and what cannot be looked up or used is an OSError."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
import uvloop

from tests.failures import scenes
from tests.failures.primaries import Primary, scene
from tollhouse.errors import StoreUnavailable
from tollhouse.stores.discovery.static_resolver import StaticResolver
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.sockets import AddressInfo, Resolve, interleave, open_socket, resolve_name
from tollhouse.stores.urls import ServerList, TcpAddress, Tls, UnixAddress, parse

SOON_S = 5.0
V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


@contextmanager
def silent() -> Iterator[AddressInfo]:
    """An address that never answers: the queue of its listener is full, so further attempts are ignored."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            filler = opened.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        yield V4, listener.getsockname()


@contextmanager
def refusing() -> Iterator[AddressInfo]:
    """An address at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield V4, bound.getsockname()


def names(*addresses: AddressInfo) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
        return addresses

    return resolve


@pytest.fixture
async def primary() -> AsyncIterator[Primary]:
    server = await Primary().open()
    yield server
    await server.close()


async def test_a_silent_address_delays_by_no_more_than_the_next_attempt(primary: Primary) -> None:
    """When the first address of a name does not answer, the next one is tried after a moment, and is used."""
    with silent() as first:
        began_s = asyncio.get_running_loop().time()
        opened, peer = await open_socket("h", 1, next_address_s=0.1, resolve=names(first, (V4, primary.host)))
        took_s = asyncio.get_running_loop().time() - began_s
    opened.close()

    assert peer == primary.host
    assert 0.09 <= took_s < 1


async def test_a_refused_address_delays_nothing(primary: Primary) -> None:
    """When the first address refuses, the next one is tried at once."""
    with refusing() as first:
        async with asyncio.timeout(SOON_S):
            opened, peer = await open_socket("h", 1, next_address_s=60, resolve=names(first, (V4, primary.host)))
    opened.close()

    assert peer == primary.host


async def test_all_failures_are_named() -> None:
    """When no address connects, the error is that of all of them; a name without an address is named."""
    with refusing() as (_, first), refusing() as (_, second), pytest.raises(OSError, match="; ") as raised:
        await open_socket("h", 1, next_address_s=0, resolve=names((V4, first), (V4, second)))
    assert str(first[1]) in str(raised.value)
    assert str(second[1]) in str(raised.value)

    with pytest.raises(OSError, match="'h' has no address"):
        await open_socket("h", 1, resolve=names())


async def test_the_sockets_of_losers_are_closed(primary: Primary) -> None:
    """Of several attempts that connect one is kept; the sockets of the others are closed, and no task is left."""
    tasks = asyncio.all_tasks()
    addresses = [(V4, primary.host)] * 4
    opened, _ = await open_socket("h", 1, next_address_s=0, resolve=names(*addresses))

    await primary.until(lambda: primary.accepted > 0 and len(primary.connections) == 1)
    opened.close()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == tasks


async def test_a_cancelled_caller_leaves_nothing_open() -> None:
    """Cancelled while two addresses are tried, both sockets are closed and both tasks end."""
    tasks = asyncio.all_tasks()
    with silent() as first, silent() as second:
        opening = asyncio.create_task(open_socket("h", 1, next_address_s=0, resolve=names(first, second)))
        await asyncio.sleep(0.02)
        assert len(asyncio.all_tasks() - tasks) == 3

        opening.cancel()
        await asyncio.wait({opening})
    del opening
    gc.collect()  # a socket that was left open would warn here, and warnings are errors

    assert asyncio.all_tasks() == tasks


async def test_a_caller_that_is_cancelled_as_it_connects_leaves_no_socket(primary: Primary) -> None:
    """Cancelled between the end of an attempt and its use, the socket of the attempt is closed."""
    tasks = asyncio.all_tasks()
    with silent() as second:
        opening = asyncio.create_task(open_socket("h", 1, resolve=names((V4, primary.host), second)))
        while not (attempts := asyncio.all_tasks() - tasks - {opening}):  # noqa: ASYNC110 - a task has no event of its start
            await asyncio.sleep(0)
        (attempt,) = attempts
        while not attempt.done():  # noqa: ASYNC110 - one turn of the loop too many would be after its use
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})

    assert opening.cancelled()
    await primary.until(lambda: primary.accepted == 1 and not primary.connections)


def test_families_take_turns() -> None:
    """Addresses are tried with the families in turn, beginning with that of the first one."""
    a, b, c, d = ((V6, ("a",)), (V6, ("b",)), (V6, ("c",)), (V4, ("d",)))

    assert interleave([a, b, c, d]) == [a, d, b, c]
    assert interleave([d, a, b]) == [d, a, b]
    assert interleave([]) == []


MALFORMED: list[tuple[str, str]] = [
    ("bad..name", "an empty label"),
    ("x" * 64 + ".example", "a label that is too long"),
    ("\ud800", "half a character"),
]


@pytest.mark.parametrize("name", [name for name, _ in MALFORMED], ids=[why for _, why in MALFORMED])
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_name_that_cannot_be_looked_up_is_an_os_error(
    make_loop: Callable[[], asyncio.AbstractEventLoop], name: str
) -> None:
    """A name that has no encoding raises OSError, as one that does not exist does, in either event loop."""

    async def dial() -> None:
        await Dialer().dial(TcpAddress(host=name, port=1), on_lost=lambda: None)

    with asyncio.Runner(loop_factory=make_loop) as runner, pytest.raises(OSError, match="is not the name of a host"):
        runner.run(dial())


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_server_is_reached_in_either_event_loop(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A name with a silent and a good address is connected to, with the good address as its peer."""

    async def dial(first: AddressInfo) -> None:
        server = await Primary().open()
        dialer = Dialer(names(first, (V4, server.host)))
        connection, peer = await dialer.dial(TcpAddress(host="h", port=1), on_lost=lambda: None, next_address_s=0.05)
        assert peer == server.host
        await server.until(lambda: len(server.connections) == 1)
        await connection.aclose()
        await server.close()

    with silent() as first, asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(dial(first))


async def test_a_path_that_cannot_be_used_is_an_os_error() -> None:
    """A path of a unix socket with a character that no path has raises OSError."""
    with pytest.raises(OSError, match="cannot be connected to"):
        await Dialer().dial(UnixAddress(path="/half/\ud800"), on_lost=lambda: None)


async def test_a_name_that_tls_cannot_check_is_an_os_error(primary: Primary) -> None:
    """A name that no certificate could have raises OSError, and leaves no socket open."""
    dialer = Dialer(names((V4, primary.host)))
    with pytest.raises(OSError, match="cannot be connected to"):
        await dialer.dial(TcpAddress(host=".example", port=1, tls=Tls()), on_lost=lambda: None)

    await primary.until(lambda: not primary.connections)


async def test_numbers_are_not_looked_up() -> None:
    """Numeric addresses are read as they are, IPv6 with its zone included."""
    assert await resolve_name("127.0.0.1", 1) == [(V4, ("127.0.0.1", 1))]
    assert await resolve_name("::1", 1) == [(V6, ("::1", 1, 0, 0))]


async def test_names_are_looked_up() -> None:
    """A name has the addresses that the system gives it, each once."""
    addresses = await resolve_name("localhost", 1)

    assert {place[0] for _, place in addresses} <= {"127.0.0.1", "::1"}
    assert len(set(addresses)) == len(addresses) > 0


async def test_a_connect_loop_survives_a_malformed_name() -> None:
    """A store whose primary has a name that cannot be looked up is unavailable; at the next primary it works again."""
    async with scene(wait_s=0.1) as s:
        s.locator.address = TcpAddress(host="bad..name", port=6379)
        with pytest.raises(StoreUnavailable, match="is not the name of a host"):
            await s.store.run("test/once", [], [])

        s.locator.move(s.new)

        assert await s.store.run("test/once", [], []) == [1]


async def test_a_list_survives_a_malformed_name(primary: Primary) -> None:
    """A list with one malformed name uses the others, and says why that one is silent."""
    url = parse("TOLLHOUSE_URL", f"redis://127.0.0.1:{primary.host[1]},bad..name")
    assert isinstance(url.target, ServerList)
    resolver = StaticResolver(url.target, Login(), Dialer())

    assert (await resolver.locate()).port == primary.host[1]
    assert any("is not the name of a host" in reason for reason in resolver.health().silent)
    await resolver.aclose()


async def test_sentinels_survive_a_malformed_name() -> None:
    """Among Sentinels one with a malformed name is silent, and the primary that the others name is used."""
    async with scenes.scene(more=(("bad..name", 26379),)) as s:
        assert await s.located() == s.hosts[0]
        assert any("is not the name of a host" in reason for reason in s.resolver.health().silent)


async def test_a_listed_server_with_a_silent_address_is_reached(primary: Primary) -> None:
    """A listed server whose first address is silent is reached at its second one, inside the time of a round."""
    with silent() as first:
        target = ServerList(hosts=(("h", 1),))
        resolver = StaticResolver(target, Login(), Dialer(names(first, (V4, primary.host))))
        async with asyncio.timeout(SOON_S):
            assert (await resolver.locate()).host == "h"
        await resolver.aclose()
