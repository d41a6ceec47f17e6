"""The simulated servers and Sentinels reply as the real ones do: the same conversations with both, compared."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.simulation.cluster import Cluster
from tests.simulation.loop import VirtualLoop, run
from tests.simulation.network import Network
from tollhouse.stores.discovery.sentinel_events import CHANNELS
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.transport.handshake import read_info
from tollhouse.stores.urls import TcpAddress, parse

pytestmark = pytest.mark.sentinel

READS = "#!lua flags=no-writes\nreturn 1"
WRITES = "#!lua\nreturn redis.call('SET', KEYS[1], ARGV[1])"
ON_BOTH: tuple[tuple[str | int, ...], ...] = (
    ("PING",),
    ("ROLE",),
    ("SELECT", 0),
    ("SELECT", 99),
    ("NO-SUCH-COMMAND", "x"),
    ("EVALSHA", "0" * 40, 0),
    ("SCRIPT", "LOAD", READS),
    ("EVAL", READS, 0),
    ("EVAL", WRITES, 1, "a", "1"),
    ("SET", "a", "1", "PX", 60_000),
    ("GET", "no-such-key"),
    ("WAIT", 0, 50),
    ("SCRIPT", "EXISTS", "0" * 40),
    ("EVAL", "return {1, false, 'x', {ok = 'fine'}, 2.7, true}", 0),
    ("EVAL", "return redis.error_reply('ERR mine')", 0),
    ("TIME",),
)
"""Commands, in order, to a primary and to a replica."""

PRIMARY_ONLY: tuple[tuple[str | int, ...], ...] = (
    ("SET", "b", "2"),
    ("WAIT", 2, 2000),
    ("WAIT", 3, 20),
    ("CONFIG", "SET", "min-replicas-to-write", 3),
    ("SET", "b", "3"),
    ("EVAL", WRITES, 1, "b", "3"),
    ("EVAL", READS, 0),
    ("CONFIG", "SET", "min-replicas-to-write", 0),
)

SENTINEL: tuple[tuple[str, ...], ...] = (
    ("PING",),
    ("ROLE",),
    ("SENTINEL", "MYID"),
    ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"),
    ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "other"),
    ("SENTINEL", "MASTER", "main"),
    ("SENTINEL", "MASTER", "other"),
    ("SENTINEL", "REPLICAS", "main"),
    ("SENTINEL", "SENTINELS", "main"),
    ("SENTINEL", "NOPE"),
)

Ask = Callable[..., Awaitable[Any]]
Talk = Callable[[Callable[..., Awaitable[Ask]]], Awaitable[Any]]


@pytest.fixture(scope="module")
def real() -> Iterator[SentinelCluster]:
    """A primary, two replicas and three Sentinels."""
    cluster = SentinelCluster.start(down_after_ms=1000)
    yield cluster
    cluster.stop()


@pytest.fixture
def own() -> Iterator[SentinelCluster]:
    """Return a cluster whose primary a test may replace."""
    cluster = SentinelCluster.start(down_after_ms=1000)
    yield cluster
    cluster.stop()


def _on_real(real: SentinelCluster, talk: Talk) -> Any:
    return asyncio.run(_talk_to_real(real, talk))


async def _talk_to_real(real: SentinelCluster, talk: Talk) -> Any:
    target = parse("TOLLHOUSE_URL", real.url).target
    nodes = [*real.nodes, *real.sentinels]
    connections: list[Connection] = []

    async def connect(number: int, on_push: Callable[[list[Any]], None] = lambda _: None) -> Ask:
        connection, _ = await Dialer().dial(nodes[number].address, on_lost=lambda: None, on_push=on_push)
        connections.append(connection)
        url = parse("TOLLHOUSE_URL", real.url)
        password = url.password if number < 3 else target.password  # type: ignore[union-attr] - of Sentinels
        return await _ask(connection, Login(username="default", password=password))

    try:
        return await talk(connect)
    finally:
        for connection in connections:
            await connection.aclose()


def _on_simulated(talk: Talk) -> Any:
    async def main(loop: VirtualLoop) -> Any:
        network = Network(loop, random.Random(1))
        cluster = Cluster(loop, network, random.Random(2))
        nodes = [*cluster.servers, *cluster.sentinels]
        await asyncio.sleep(2.5)

        async def connect(number: int, on_push: Callable[[list[Any]], None] = lambda _: None) -> Ask:
            ip, port = nodes[number].host
            address = TcpAddress(host=ip, port=port)
            dialer = network.dialer("10.0.9.1")
            connection, _ = await dialer.dial(address, on_lost=lambda: None, on_push=on_push)
            return await _ask(connection, Login())

        return await talk(connect)

    return run(main)[0]


async def _ask(connection: Connection, login: Login) -> Ask:
    async def ask(*parts: str | int) -> Any:
        # In RESP 3 the replies of SUBSCRIBE are pushes; the reply that is awaited is that of PING.
        frame = encode(*parts) + (encode("PING") if parts[0] == "SUBSCRIBE" else b"")
        try:
            return await connection.send(frame, asyncio.get_running_loop().time() + 5)
        except ServerError as error:
            return error

    greeting = await connection.send(login.hello("a-test"), asyncio.get_running_loop().time() + 5)
    ask.greeting = greeting  # type: ignore[attr-defined] - what the conversation begins with
    return ask


def _shape(reply: Any) -> Any:
    """Return a reply without what differs from run to run: addresses, ids, offsets and times; the codes of errors."""
    match reply:
        case ServerError():
            return f"error {reply.code}"
        case bytes():
            return _text(reply.decode())
        case list():
            return [_shape(item) for item in reply]
        case dict():
            return {name.decode(): _shape(value) for name, value in reply.items()}
        case int():
            return reply if reply < 10 else "number"
        case _:
            return reply


def _text(text: str) -> str:
    for pattern, word in ((r"[0-9a-f]{40}", "id"), (r"\d+\.\d+\.\d+\.\d+", "ip"), (r"\d{1,}", "number")):
        text = re.sub(pattern, word, text)
    return text


def _server_talk(number: int, *, redirects: bool, commands: tuple[tuple[str | int, ...], ...]) -> Any:
    async def talk(connect: Any) -> Any:
        writer = await connect(0)
        await writer("SET", "before", "so that offsets have two digits, everywhere")
        await writer("WAIT", 2, 2000)
        ask = await connect(number)
        if redirects:
            await ask("CLIENT", "CAPA", "redirect")
        found = [("HELLO", _shape({name: ask.greeting[name] for name in (b"server", b"proto", b"mode", b"role")}))]
        found.extend([(command, _shape(await ask(*command))) for command in commands])
        return found

    return talk


@pytest.mark.parametrize("redirects", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_a_server_replies_as_the_real_one(real: SentinelCluster, number: int, redirects: bool) -> None:
    """A primary and a replica accept, refuse and redirect the same commands, with replies of the same shape."""
    talk = _server_talk(number, redirects=redirects, commands=ON_BOTH)

    expected = _on_real(real, talk)

    assert _on_simulated(talk) == expected


def test_a_primary_counts_replicas_as_the_real_one(real: SentinelCluster) -> None:
    """WAIT counts, waits and gives up alike; with too few replicas, writes are refused and reads are not."""
    talk = _server_talk(0, redirects=False, commands=PRIMARY_ONLY)

    expected = _on_real(real, talk)

    assert _on_simulated(talk) == expected


@pytest.mark.parametrize("number", [0, 1])
def test_info_has_the_fields_of_the_real_one(real: SentinelCluster, number: int) -> None:
    """INFO replication has the same lines in the same order, and the same words in them."""

    async def talk(connect: Any) -> Any:
        ask = await connect(number)
        text = await ask("INFO", "replication", "persistence")
        replication = text[text.index(b"# Replication") :]
        fields = read_info(replication)
        assert "aof_enabled" in read_info(text)
        return {name: re.sub("number|-1", "n", _text(value)) for name, value in fields.items()}

    expected = _on_real(real, talk)

    ours = _on_simulated(talk)
    assert list(ours) == [name for name in expected if name in ours]
    assert {name: value for name, value in expected.items() if name not in ours} == {
        name: "n" for name in ("replicas_repl_buffer_size", "replicas_repl_buffer_peak") if number == 1
    }
    assert ours == {name: value for name, value in expected.items() if name in ours}


def test_a_sentinel_replies_as_the_real_one(real: SentinelCluster) -> None:
    """A Sentinel names the primary, the replicas and the other Sentinels alike, with the fields that it has here."""

    async def talk(connect: Any) -> Any:
        ask = await connect(3)
        return [(command, _shape(await ask(*command))) for command in SENTINEL]

    expected = _on_real(real, talk)
    ours = _on_simulated(talk)

    for (command, theirs), (_, own) in zip(expected, ours, strict=True):
        assert _narrowed(theirs, own) == own, command


def _narrowed(theirs: Any, own: Any) -> Any:
    """Return `theirs` with those fields of maps only that `own` has."""
    if isinstance(own, dict):
        return {name: _narrowed(theirs[name], value) for name, value in own.items()}
    if isinstance(own, list) and len(theirs) == len(own):
        return [_narrowed(their, value) for their, value in zip(theirs, own, strict=True)]
    return theirs


@pytest.mark.parametrize("way", ["COORDINATED", "FORCED"])
def test_a_failover_is_announced_as_by_the_real_one(own: SentinelCluster, way: str) -> None:
    """The Sentinel that leads a failover announces the same steps in the same order, and a server takes over."""
    command = ("SENTINEL", "FAILOVER", "main", *(() if way == "FORCED" else (way,)))

    async def talk(connect: Any) -> Any:
        steps: list[str] = []
        over = asyncio.Event()

        def on_push(push: list[Any]) -> None:
            if push[0] != b"message":
                return
            steps.append(push[1].decode())
            if push[1] == b"+switch-master":
                over.set()

        ask = await connect(3, on_push)
        await ask("SUBSCRIBE", *CHANNELS)
        before = await ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        assert await ask(*command) == b"OK"
        async with asyncio.timeout(20):
            await over.wait()
        after = await ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return [step for step in steps if step not in ("+slave", "-sdown", "+sdown")], before == after

    expected = _on_real(own, talk)

    assert _on_simulated(talk) == expected
