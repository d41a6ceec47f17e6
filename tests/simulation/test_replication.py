"""Simulated servers lose what real ones lose, and keep what real ones keep."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tests.simulation.cluster import Cluster
from tests.simulation.loop import VirtualLoop, run
from tests.simulation.network import Network
from tests.simulation.valkey.server import Server
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.transport.errors import ConnectionLost, ServerError
from tollhouse.stores.urls import TcpAddress

HERE = "10.0.9.1"
WRITE = "#!lua\nreturn redis.call('SET', KEYS[1], ARGV[1])"


class Stage:
    """A cluster, and connections to it."""

    def __init__(self, loop: VirtualLoop, **options: Any) -> None:
        self.network = Network(loop, random.Random(3))
        self.cluster = Cluster(loop, self.network, random.Random(4), **options)
        self._loop = loop

    async def connect(self, server: Server, *, redirects: bool = False) -> Connection:
        address = TcpAddress(host=server.host[0], port=server.host[1])
        connection, _ = await self.network.dialer(HERE).dial(address, on_lost=lambda: None)
        await connection.send(Login().hello("a-test"), self._loop.time() + 5)
        if redirects:
            await self.send(connection, "CLIENT", "CAPA", "redirect")
        return connection

    async def send(self, connection: Connection, *command: str | int) -> Any:
        try:
            return await connection.send(encode(*command), self._loop.time() + 30)
        except ServerError as error:
            return error.code

    def value(self, server: Server, key: str) -> Any:
        return server.space(0).values.get(key.encode())


def _play(scene: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    async def main(loop: VirtualLoop) -> None:
        stage = Stage(loop, **options)
        await asyncio.sleep(0.01)
        await scene(stage)

    _, loop = run(main)
    assert loop.lost == []


def test_a_confirmed_write_outlives_its_primary_and_others_may_not() -> None:
    """What WAIT counted is on the promoted replica; what the primary wrote alone is gone when it comes back."""

    async def scene(stage: Stage) -> None:
        first, *others = stage.cluster.servers
        client = await stage.connect(first)
        await stage.send(client, "SET", "confirmed", "1")
        assert await stage.send(client, "WAIT", 2, 1000) == 2
        for other in others:
            other.lag_ms = 5_000
        await stage.send(client, "SET", "alone", "1")
        assert await stage.send(client, "WAIT", 1, 50) == 0
        first.kill()
        await asyncio.sleep(5)
        first.restart()
        assert stage.value(first, "alone") == b"1"
        for other in others:
            other.lag_ms = 0
        await asyncio.sleep(25)

        assert stage.cluster.primary() is not first
        assert first.role == "slave"
        for server in stage.cluster.servers:
            assert stage.value(server, "confirmed") == b"1"
            assert stage.value(server, "alone") is None

    _play(scene)


def test_wait_counts_the_writes_of_its_own_connection() -> None:
    """A connection that wrote nothing is told of all replicas, however far they lag."""

    async def scene(stage: Stage) -> None:
        first, *others = stage.cluster.servers
        writer, reader = await stage.connect(first), await stage.connect(first)
        for other in others:
            other.lag_ms = 5_000
        await stage.send(writer, "SET", "a", "1")

        assert await stage.send(writer, "WAIT", 1, 20) == 0
        assert await stage.send(reader, "WAIT", 2, 20) == 2

    _play(scene)


def test_a_paused_write_is_redirected_when_the_primary_hands_over() -> None:
    """During a coordinated failover writes wait and reads do not; then writes are refused, and nothing is lost."""

    async def scene(stage: Stage) -> None:
        first, second, _ = stage.cluster.servers
        client, reader = await stage.connect(first, redirects=True), await stage.connect(first)
        waiting = await stage.connect(first)
        await stage.send(client, "SET", "before", "1")
        stage.cluster.servers[2].kill()
        wait = asyncio.ensure_future(stage.send(waiting, "WAIT", 2, 0))
        second.lag_ms = 300
        await stage.send(client, "SET", "last", "1")
        first.handover.begin(second.host, 5_000)
        held = asyncio.ensure_future(stage.send(client, "EVAL", WRITE, 1, "during", "1"))
        assert await stage.send(reader, "GET", "before") == b"1"
        await asyncio.sleep(0.1)
        assert not held.done()

        assert await held == "REDIRECT"
        assert await wait in ("UNBLOCKED", 2)
        assert second.role == "master"
        assert stage.value(second, "last") == b"1"
        assert stage.value(second, "during") is None
        assert first.replicator.history.id == second.replicator.history.id

    _play(scene)


def test_a_promotion_forks_the_history_and_the_other_replicas_continue_it() -> None:
    """`master_replid` changes, the old id stays valid up to that offset, and a replica needs no snapshot."""

    async def scene(stage: Stage) -> None:
        first, second, third = stage.cluster.servers
        client = await stage.connect(first)
        await stage.send(client, "SET", "a", "1")
        await stage.send(client, "WAIT", 2, 1000)
        before = first.replicator.history.id
        first.kill()
        await asyncio.sleep(6)
        new, other = (second, third) if second.role == "master" else (third, second)

        assert new.replicator.history.id != before
        assert new.replicator.history.former_id == before
        assert other.replicator.history.id == new.replicator.history.id
        assert not any("snapshot" in line for line in stage.network.trace.lines)

    _play(scene)


def test_a_replica_of_a_replica_follows_and_acknowledges_to_it() -> None:
    """Chained replicas have the data and the offset of the primary, which counts its own replicas only."""

    async def scene(stage: Stage) -> None:
        first, second, third = stage.cluster.servers
        third.demote(second.host)
        await asyncio.sleep(2)
        client = await stage.connect(first)
        await stage.send(client, "SET", "a", "1")

        assert await stage.send(client, "WAIT", 2, 100) == 1
        assert stage.value(third, "a") == b"1"
        assert third.offset == first.offset
        assert list(second.acked) == [third.host]

    _play(scene, sentinels=1)


def test_a_replica_with_priority_0_is_never_promoted_and_a_later_offset_wins() -> None:
    """Sentinel promotes by priority, and among equals the replica that has received more."""

    async def scene(stage: Stage) -> None:
        first, never, behind, ahead = stage.cluster.servers
        behind.lag_ms = 20_000
        client = await stage.connect(first)
        await stage.send(client, "SET", "a", "1")
        assert await stage.send(client, "WAIT", 2, 1000) == 2
        first.kill()
        await asyncio.sleep(6)

        assert stage.cluster.primary() is ahead
        assert never.role == "slave"

    _play(scene, replicas=3, priorities=(100, 0, 100, 100))


def test_a_restart_forgets_scripts_and_connections_and_keeps_data() -> None:
    """After a restart EVALSHA says NOSCRIPT; the data is there, or, after the loss of the machine, nothing is."""

    async def scene(stage: Stage) -> None:
        first = stage.cluster.servers[0]
        client = await stage.connect(first)
        sha = (await stage.send(client, "SCRIPT", "LOAD", WRITE)).decode()
        assert await stage.send(client, "EVALSHA", sha, 1, "a", "1") == b"OK"
        other = await stage.connect(stage.cluster.servers[1])
        assert await stage.send(other, "EVALSHA", sha, 1, "a", "1") == "NOSCRIPT"
        for empty, value in ((False, b"1"), (True, None)):
            first.restart(empty=empty)
            client = await stage.connect(first)
            assert await stage.send(client, "EVALSHA", sha, 1, "a", "2") == "NOSCRIPT"
            assert await stage.send(client, "GET", "a") == value

    _play(scene)


def test_what_a_primary_had_is_forgotten_if_it_starts_empty_before_a_sentinel_replaced_it() -> None:
    """Its replicas copy that it has nothing. Once a Sentinel that runs names another one, nothing excuses a loss."""

    async def scene(stage: Stage) -> None:
        first = stage.cluster.servers[0]
        for dead_s, excused in ((0.1, True), (6.0, False)):
            stage.cluster.primary().kill()
            await asyncio.sleep(dead_s)
            before_s = stage.cluster.forgotten_s
            stage.cluster.restart_empty(first)
            assert (stage.cluster.forgotten_s > before_s) is excused
            await asyncio.sleep(2)

    _play(scene)


def test_a_process_that_hangs_runs_later_what_it_was_sent() -> None:
    """A hung primary answers nothing; when it goes on it runs what its kernel kept, and is still deposed."""

    async def scene(stage: Stage) -> None:
        first = stage.cluster.servers[0]
        client = await stage.connect(first)
        first.hang(10_000)
        late = asyncio.ensure_future(client.send(encode("SET", "late", "1"), 60))
        await asyncio.sleep(9)
        assert not late.done() or isinstance(late.exception(), ConnectionLost)
        assert stage.value(first, "late") is None
        await asyncio.sleep(2)
        assert stage.value(first, "late") == b"1"
        await asyncio.sleep(25)
        assert stage.value(first, "late") is None
        await asyncio.wait({late})
        late.exception()

    _play(scene)


def test_without_replicas_that_acknowledge_writes_are_refused() -> None:
    """With min-replicas-to-write a primary that was cut off refuses writes after ten seconds, and reads go on."""

    async def scene(stage: Stage) -> None:
        first, second, third = stage.cluster.servers
        client = await stage.connect(first)
        for other in (second, third):
            stage.network.cut(other.host[0], first.host[0])
        assert await stage.send(client, "SET", "a", "1") == b"OK"
        await asyncio.sleep(12)

        assert await stage.send(client, "SET", "a", "2") == "NOREPLICAS"
        assert await stage.send(client, "GET", "a") == b"1"

    _play(scene, min_replicas=1, sentinels=1)
