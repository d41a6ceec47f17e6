"""What is done on a server, through the library: each check returns `yes`, or a word for what it found instead."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import tollhouse
from tests.caches import GatedLoader, Loader
from tests.servers.accounts import Account, rules
from tollhouse.errors import StoreUnavailable
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.settings.model import LimitSettings, PolicySettings
from tollhouse.stores import status
from tollhouse.stores.discovery.locator import Address
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.stores.transport.errors import ServerError
from tollhouse.wiring import Tollhouse

SECRET: Final = b"a secret for tests, 32 bytes or more"
POLICIES: Final = {
    "five": PolicySettings(limit="5/hour"),
    "two": PolicySettings(limit="2/hour"),
    "held": PolicySettings(limit="1/minute", algorithm="concurrency"),
}
PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.02

T = TypeVar("T")

Check = Callable[[str], Awaitable[str]]
"""Checks the server at a URL."""


def open_at(url: str) -> Tollhouse:
    """Open the library on a server, as one process does."""
    limits = LimitSettings(policies=POLICIES)
    return tollhouse.open(Settings(url=url, secret=(SECRET,), deadline_ms=2000, limits=limits))


@contextmanager
def server_on(binary: Path, data: Path | None = None) -> Iterator[EmbeddedServer]:
    """A server that runs a program; with `data` it keeps an append-only file there."""
    server = EmbeddedServer.start(data, binary)
    try:
        yield server
    finally:
        server.stop()


async def add_account(url: str, account: Account, unknown: Collection[str] = ()) -> str:
    """Create an account on the server at a URL, and return the URL for it; `unknown` are commands that it lacks."""
    name, password = f"account-{secrets.token_hex(4)}", secrets.token_hex(8)
    async with open_at(url) as th:
        await th.stores.sessions.command(*_acl(name, password, account, unknown))
    return url.replace("unix://", f"unix://{name}:{password}@")


async def sync_always(url: str) -> None:
    """Set that the append-only file is synced before each answer."""
    async with open_at(url) as th:
        await th.stores.sessions.command("CONFIG", "SET", "appendfsync", "always")


async def clear(url: str) -> None:
    """Remove all data, so that each check finds an empty server."""
    async with open_at(url) as th:
        await th.stores.sessions.command("FLUSHALL")


def _acl(name: str, password: str, account: Account, unknown: Collection[str]) -> tuple[str, ...]:
    all_rights = ("on", f">{password}", "allchannels", "allkeys", "+@all")
    return ("ACL", "SETUSER", name, *all_rights, *rules(account, unknown))


async def outcome(check: Check, url: str) -> str:
    """Return what a check found; `refused` if the server is older than Tollhouse needs."""
    try:
        return await check(url)
    except StoreUnavailable as error:
        if error.outcome == "not-sent" and "Tollhouse needs Redis 7.0 or Valkey 7.2" in error.reason:
            return "refused"
        raise


async def session(url: str) -> str:
    """Create, verify, list and revoke a session."""
    async with open_at(url) as th:
        issued = await create(th, "ada")
        assert await th.sessions.verify(issued.token) == issued.session
        assert await th.sessions.list("ada") == (issued.session,)
        assert (await th.sessions.revoke("ada", issued.session.sid)).found
        assert await th.sessions.verify(issued.token) is None
        assert await th.sessions.list("ada") == ()
    return "yes"


async def limits(url: str) -> str:
    """Take up to a limit, all or nothing over two, and hold a permit."""
    async with open_at(url) as th:
        await th.stores.limits.command("PING")
        assert [(await th.limits.take("five", "ada")).allowed for _ in range(6)] == [True] * 5 + [False]
        both = [tollhouse.Take(policy=name, key="bob") for name in ("five", "two")]
        assert [(await th.limits.take_all(both)).allowed for _ in range(3)] == [True, True, False]
        assert remaining(await th.limits.peek("five", "bob")) == 3
        async with th.limits.hold("held", "ada"):
            assert not (await th.limits.lease("held", "ada")).decision.allowed
        async with th.limits.hold("held", "ada"):
            pass
    return "yes"


def remaining(decision: tollhouse.Decision) -> int:
    """Return what a policy of one limit has left, if the store said it."""
    assert not decision.degraded
    return decision.limits[0].remaining


async def cache_fence(url: str) -> str:
    """Invalidate a value while it is loaded: it is neither stored nor served."""
    async with open_at(url) as th:
        await th.stores.cache.command("PING")
        load = GatedLoader("old")
        reading = asyncio.create_task(th.cache.fetch("k", load, tags=["t"]))
        await load.began.wait()
        await th.cache.invalidate_tags("t")
        load.gate.set()
        assert (await reading).ttl_ms == 0
        assert (await th.cache.fetch("k", Loader("new"), tags=["t"])).value == "new"
        assert (await th.cache.fetch("k", Loader("newer"))).status == "HIT"
    return "yes"


async def shared_cache(url: str) -> str:
    """Read what another process stored."""
    async with open_at(url) as th, open_at(url) as other:
        assert (await th.cache.fetch("shared", Loader("value"))).status == "MISS"
        return "yes" if (await other.cache.fetch("shared", Loader("value"))).status == "HIT" else "no"


async def durable_create(url: str) -> str:
    """Create two sessions: the first may find that the store is not ready to promise anything."""
    async with open_at(url) as th:
        issued = [await create(th, "ada") for _ in range(2)]
    return "yes" if issued[-1].durable else "no"


async def hears_others(url: str) -> str:
    """Return units in another process while a refusal is cached here."""
    async with open_at(url) as th, open_at(url) as other:
        await _taken(th, other)
        assert await other.limits.reset("five", "heard")
        for _ in range(20):
            if (await th.limits.take("five", "heard")).allowed:
                return "yes"
            await asyncio.sleep(_PAUSE_S)
    return "no"


async def _taken(th: Tollhouse, other: Tollhouse) -> None:
    """Take all units over both, and let this one hear what is announced, if it may."""
    await other.stores.limits.command("PING")
    for _ in range(5):
        assert (await th.limits.take("five", "heard")).allowed
    await asyncio.sleep(10 * _PAUSE_S)
    assert not (await th.limits.take("five", "heard")).allowed
    assert not (await th.limits.take("five", "heard")).allowed


async def missing_commands(url: str) -> tuple[str, ...]:
    """Return the commands that `tollhouse check` warns of, of any store."""
    async with open_at(url) as th:
        found = [await status.missing_commands(store) for store in th.stores.all()]
    return tuple(sorted({one.command for each in found for one in each}))


async def failover(binary: Path, *way: str, account: Account | None = None, unknown: Collection[str] = ()) -> str:
    """Replace the primary of a cluster by Sentinel; return `no` if the Sentinel does not know the way."""
    cluster = await asyncio.to_thread(SentinelCluster.start, binary=binary)
    try:
        url = cluster.url if account is None else await asyncio.to_thread(_account_url, cluster, account, unknown)
        async with open_at(url) as th:
            return await _fail_over(th, cluster, way, promises=account is None)
    finally:
        await asyncio.to_thread(cluster.stop)


def _account_url(cluster: SentinelCluster, account: Account, unknown: Collection[str]) -> str:
    name, password = "few-rights", secrets.token_hex(8)
    for node in cluster.nodes:
        cluster.call(node, *_acl(name, password, account, unknown))
    scheme, _, rest = cluster.url.partition("://")
    return f"{scheme}://{name}:{password}@{rest.partition('@')[2]}"


async def _fail_over(th: Tollhouse, cluster: SentinelCluster, way: tuple[str, ...], *, promises: bool) -> str:
    kept, ended = await durably(th, "ada", promises=promises), await durably(th, "bob", promises=promises)
    assert (await th.sessions.revoke("bob", ended.session.sid)).durable == promises
    assert remaining(await th.limits.take("five", "ada")) == 4
    assert await th.cache.get_or_load("k", Loader("old")) == "old"
    await th.cache.invalidate("k")
    await asyncio.to_thread(_await_replicas, cluster)
    before = primary_of(th)

    try:
        await asyncio.to_thread(cluster.call, cluster.sentinels[0], "SENTINEL", "FAILOVER", "main", *way)
    except ServerError:
        return "no"
    await _until_moved(th, before)

    assert await _answer(lambda: th.sessions.verify(kept.token)) == kept.session
    assert await _answer(lambda: th.sessions.verify(ended.token)) is None
    assert await th.cache.get_or_load("k", Loader("new")) == "new"
    assert remaining(await th.limits.take("five", "ada")) == 3
    await durably(th, "eve", promises=promises)
    assert primary_of(th) != before
    return "yes"


def _await_replicas(cluster: SentinelCluster) -> None:
    """Return when both replicas have what the primary has."""
    primary = cluster.primary()
    assert primary is not None
    assert cluster.call(primary, "WAIT", 2, 5000) == 2


def primary_of(th: Tollhouse) -> Address | None:
    """Return the server that the library takes for the primary."""
    health = th.stores.sessions.health()
    return None if health is None or health.generation is None else health.generation.address


async def _until_moved(th: Tollhouse, before: Address | None) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while primary_of(th) == before:  # noqa: ASYNC110 - the resolver publishes no event for it
            await asyncio.sleep(_PAUSE_S)


async def _answer(call: Callable[[], Awaitable[T]]) -> T:
    """Return the first answer; the stores may be unavailable for a moment while the primary is replaced."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE_S)


async def create(th: Tollhouse, user: str) -> Issued:
    """Create a session."""
    issued = await th.sessions.create(user)
    assert isinstance(issued, Issued)
    return issued


async def durably(th: Tollhouse, user: str, *, promises: bool) -> Issued:
    """Create sessions until one is durable, if the account lets the store know; else one that is not."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            issued = await _answer(lambda: create(th, user))
            if issued.durable == promises:
                return issued
            await asyncio.sleep(_PAUSE_S)


ON_SERVER: Final[dict[str, Check]] = {
    "session": session,
    "limits": limits,
    "cache fence": cache_fence,
    "shared cache": shared_cache,
    "durable create": durable_create,
    "hears others": hears_others,
}
