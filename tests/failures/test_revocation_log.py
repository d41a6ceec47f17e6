"""Revocations against lost connections, missing rights, and a primary that dies with what it acknowledged."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

import tollhouse
from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.opening import open_stores
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import urls_by_store
from tollhouse.wiring import Tollhouse, open_sessions

PATIENCE_S = 10.0
CHANNEL = UNNAMED.session_revocations


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await happened():  # noqa: ASYNC110 - what happens is in another process, which sends no signal
            await asyncio.sleep(0.005)


async def listeners_are(world: StoreWorld, number: int) -> None:
    async def asked() -> bool:
        return (await world.command("sessions", "PUBSUB", "NUMSUB", CHANNEL))[1] == number

    await until(asked)


async def log_has(log: RevocationLog, number: int) -> None:
    async def asked() -> bool:
        return len(log.entries()) == number

    await until(asked)


def missed(metrics: Metrics) -> float | None:
    labels = {"operation": "hear", "outcome": "missed"}
    return metrics.registry.get_sample_value("tollhouse_session_operations_total", labels)


def made(issued: object) -> Issued:
    assert isinstance(issued, Issued)
    return issued


async def test_a_lost_subscription_is_counted_and_made_again(embedded: StoreWorld) -> None:
    """A process whose subscription was cut counts the gap, subscribes again by itself, and receives what follows."""
    stores, log = embedded.open_stores(), RevocationLog()
    sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics, revocation_log=log)
    issued = made(await sessions.create("ada"))
    await listeners_are(embedded, 1)

    await embedded.command("sessions", "CLIENT", "KILL", "TYPE", "pubsub")
    await listeners_are(embedded, 0)
    await listeners_are(embedded, 1)

    assert missed(embedded.metrics) == 1
    unaware = Sessions(embedded.stores.sessions, embedded.keyring, embedded.metrics)
    await unaware.revoke("ada", issued.session.sid)
    await log_has(log, 1)
    assert await sessions.verify(issued.token) is None


async def test_a_subscription_that_does_not_answer_is_replaced(embedded: StoreWorld) -> None:
    """A silent subscription is pinged at intervals, and replaced if there is no reply."""
    timing = ConnectionTiming(heartbeat_s=0.01, heartbeat_timeout_s=0.05)
    stores = open_stores(urls_by_store(embedded.url, {}), SCRIPTS, embedded.metrics, timing=timing)
    sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
    await sessions.list("ada")
    await listeners_are(embedded, 1)
    assert not missed(embedded.metrics)

    await embedded.command("sessions", "CLIENT", "PAUSE", "200", "ALL")

    async def told() -> bool:
        return bool(missed(embedded.metrics))

    await until(told)
    await listeners_are(embedded, 1)
    await stores.aclose()


async def test_only_sessions_listen(embedded: StoreWorld) -> None:
    """Tollhouse without sessions has no subscription; the first session call makes one, closing ends it."""
    settings = Settings(url=embedded.url, secret=embedded.keyring.secrets)
    async with tollhouse.open(settings) as th:
        await th.limits.take("default", "ada")
        await th.stores.sessions.command("PING")
        await listeners_are(embedded, 0)

        assert await th.sessions.list("ada") == ()

        await listeners_are(embedded, 1)
    await listeners_are(embedded, 0)
    with pytest.raises(ConfigurationError):
        await th.sessions.list("ada")
    await listeners_are(embedded, 0)


async def test_a_server_that_was_never_replaced_replays_nothing(embedded: StoreWorld) -> None:
    """A revocation that is the first call of its process runs once: the first primary is no new one."""
    metrics = Metrics()
    issued = made(await Sessions(embedded.stores.sessions, embedded.keyring, embedded.metrics).create("ada"))
    stores = open_stores(urls_by_store(embedded.url, {}), SCRIPTS, metrics, clock=lambda: embedded.now_ms)
    sessions = open_sessions(stores.sessions, embedded.keyring, metrics)

    assert (await sessions.revoke("ada", issued.session.sid)).found

    labels = {"store": "sessions", "script": "sessions/revoke"}
    assert metrics.registry.get_sample_value("tollhouse_script_duration_seconds_count", labels) == 1
    await stores.aclose()


async def become_another_primary(world: StoreWorld) -> None:
    """Set another replication id, as a replica has that was promoted."""
    await world.command("sessions", "REPLICAOF", "127.0.0.1", 1)
    await world.command("sessions", "REPLICAOF", "NO", "ONE")


async def test_revocations_are_replayed_on_a_new_primary_before_any_call(embedded: StoreWorld) -> None:
    """P4: the first call to a primary that lost a revocation already finds the session over, and so do later ones."""
    stores = embedded.open_stores()
    sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
    gone, other = made(await sessions.create("ada")), made(await sessions.create("ada"))
    record = UNNAMED.session(gone.token.digest[:2], gone.session.sid)
    kept = await embedded.command("sessions", "DUMP", record)
    await sessions.revoke("ada", gone.session.sid)

    await embedded.command("sessions", "RESTORE", record, 60_000, kept)
    await become_another_primary(embedded)
    await embedded.command("sessions", "CLIENT", "KILL", "TYPE", "normal")

    async def asked() -> bool:
        with suppress(StoreUnavailable):  # the call that finds the connection closed
            return await sessions.verify(other.token) == other.session
        return False

    await until(asked)
    assert await embedded.command("sessions", "EXISTS", record) == 0


async def test_a_process_without_calls_replays_too(embedded: StoreWorld) -> None:
    """A process that makes no more calls still replays its log on a server that comes back as another primary."""
    stores = embedded.open_stores()
    sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
    gone = made(await sessions.create("ada"))
    record = UNNAMED.session(gone.token.digest[:2], gone.session.sid)
    kept = await embedded.command("sessions", "DUMP", record)
    await sessions.revoke("ada", gone.session.sid)
    await listeners_are(embedded, 1)

    await embedded.command("sessions", "RESTORE", record, 60_000, kept)
    await become_another_primary(embedded)
    await embedded.command("sessions", "CLIENT", "KILL", "TYPE", "pubsub")

    async def told() -> bool:
        return await embedded.command("sessions", "EXISTS", record) == 0

    await until(told)


async def test_without_the_right_to_announce_revoking_works(
    embedded: StoreWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """An account without rights to publish and subscribe revokes as before; the missing subscription is logged once."""
    password = secrets.token_hex(8)
    rules = ("on", f">{password}", "resetchannels", "~*", "+@all", "-publish", "-subscribe")
    await embedded.command("sessions", "ACL", "SETUSER", "quiet", *rules)
    url = embedded.url.replace("unix://", f"unix://quiet:{password}@")
    stores = open_stores(urls_by_store(url, {}), SCRIPTS, embedded.metrics, clock=lambda: embedded.now_ms)
    sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
    gone, others = made(await sessions.create("ada")), made(await sessions.create("eve"))

    with caplog.at_level(logging.WARNING, "tollhouse.stores"):
        assert (await sessions.revoke("ada", gone.session.sid)).found
        assert (await sessions.revoke_all("eve")).removed == 1

        async def logged() -> bool:
            return bool(caplog.records)

        await until(logged)

    unaware = Sessions(embedded.stores.sessions, embedded.keyring, embedded.metrics)
    assert [await unaware.verify(issued.token) for issued in (gone, others)] == [None, None]
    assert [vars(record)["event"] for record in caplog.records] == ["cannot listen to announcements"]
    assert "NOPERM" in vars(caplog.records[0])["reason"]
    await stores.aclose()
    await embedded.command("sessions", "ACL", "DELUSER", "quiet")


@pytest.fixture
def cluster() -> Iterator[SentinelCluster]:
    cluster = SentinelCluster.start(down_after_ms=500)
    yield cluster
    cluster.stop()


def lose(cluster: SentinelCluster) -> tuple[Node, list[Node]]:
    """Cut the replicas off: nothing that the primary acknowledges from now on reaches them."""
    primary, *replicas = cluster.nodes
    for replica in replicas:
        os.kill(replica.pid, signal.SIGSTOP)
    # What the primary has sent waits in the replicas' sockets, and would be read; what it sends from now on is not.
    assert cluster.call(primary, "CLIENT", "KILL", "TYPE", "replica") == 2
    return primary, replicas


def die(primary: Node, replicas: list[Node]) -> None:
    """Kill the primary, with every write that only it has, and let the replicas go on."""
    os.kill(primary.pid, signal.SIGKILL)
    for replica in replicas:
        os.kill(replica.pid, signal.SIGCONT)


async def verified(th: Tollhouse, issued: Issued) -> bool:
    """Return whether a session is accepted, as soon as the store answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await th.sessions.verify(issued.token) is not None
            except StoreUnavailable:
                await asyncio.sleep(0.02)


@pytest.mark.sentinel
async def test_revocations_that_died_with_the_primary_are_replayed_on_the_next(cluster: SentinelCluster) -> None:
    """P4: revocations that only the dead primary had are on the new one before it accepts a session.

    The process that revoked and one that heard of it let none in. They go to the new primary without being called and
    repeat it there, with its event: so a process which knows nothing finds the sessions over soon, too.
    """
    settings = Settings(url=cluster.url, secret=(secrets.token_bytes(32),))
    async with tollhouse.open(settings) as first, tollhouse.open(settings) as second, tollhouse.open(settings) as late:
        one, other, stranger = [made(await first.sessions.create(user)) for user in ("ada", "ada", "bob")]
        many, kept = made(await first.sessions.create("eve")), made(await first.sessions.create("eve"))
        assert kept.durable
        assert await verified(second, one)
        await until(lambda: listening(cluster, 2))

        primary, replicas = lose(cluster)
        answers = [
            (await first.sessions.revoke("ada", one.session.sid)).durable,
            (await first.sessions.revoke_all("eve", keep=kept.session)).durable,
        ]
        die(primary, replicas)

        assert answers == [False, False]
        await until(lambda: refused(late, one, many))
        for process in (second, first, late):
            assert [await verified(process, issued) for issued in (one, many)] == [False, False]
            assert [await verified(process, issued) for issued in (other, kept, stranger)] == [True, True, True]
        assert await repeated(first, one) == 1
        later = made(await late.sessions.create("eve"))
        assert await verified(first, later)


async def refused(th: Tollhouse, *issued: Issued) -> bool:
    return not any([await verified(th, each) for each in issued])


async def listening(cluster: SentinelCluster, number: int) -> bool:
    return cluster.call(cluster.nodes[0], "PUBSUB", "NUMSUB", CHANNEL)[1] == number


async def repeated(th: Tollhouse, issued: Issued) -> int:
    """Count the events that end a session, on the present primary."""
    found = await th.stores.sessions.command("XRANGE", UNNAMED.session_events(issued.token.digest[:2]), "-", "+")
    wanted = {b"kind": b"revoked", b"sid": issued.session.sid.encode()}
    return sum(wanted.items() <= dict(zip(fields[::2], fields[1::2], strict=True)).items() for _, fields in found)
