"""Accounts that may not run every command, and servers that are too old: what works, what is lost, and who is told."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

import tollhouse
from tests.caches import Loader, open_cache
from tests.failures.fake_sentinel import ErrorReply
from tests.failures.primaries import Primary, Scene, ScriptedLocator, answered, at, scene, store_with
from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.cli.check import warnings
from tollhouse.errors import StoreUnavailable
from tollhouse.limits.limiter import Limiter
from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.stores import status
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.discovery.quorum import PrimaryName
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.rights import COSTS
from tollhouse.stores.urls import urls_by_store
from tollhouse.wiring import Tollhouse, open_limiter, open_sessions

MISSING = "a command is not available to the account"


def made(issued: object) -> Issued:
    assert isinstance(issued, Issued)
    return issued


@asynccontextmanager
async def account(world: StoreWorld, *rules: str) -> AsyncIterator[Stores]:
    """Open stores as a user with all rights but those that the rules take away."""
    name, password = f"limited-{secrets.token_hex(4)}", secrets.token_hex(8)
    await world.command("sessions", "ACL", "SETUSER", name, "on", f">{password}", "allchannels", "~*", "+@all", *rules)
    url = world.url.replace("unix://", f"unix://{name}:{password}@")
    stores = open_stores(urls_by_store(url, {}), SCRIPTS, Metrics(), clock=lambda: world.now_ms)
    try:
        yield stores
    finally:
        await stores.aclose()
        await world.command("sessions", "ACL", "DELUSER", name)


async def test_without_info_no_value_outlives_the_connection_that_stored_it(embedded: StoreWorld) -> None:
    """P6: what cannot be told from a former primary's is not served: another connection may lead to another server."""
    load = Loader("first", "second", "third")
    async with account(embedded, "-info") as stores, account(embedded, "-info") as others:
        cache, other = open_cache(embedded, stores.cache), open_cache(embedded, others.cache)
        stored = [await cache.get_or_load("key", load) for _ in range(2)]
        assert stored == ["first", "first"]
        assert await other.get_or_load("key", load) == "second"

        await embedded.command("cache", "CLIENT", "KILL", "TYPE", "normal")
        await reconnected(stores)

        assert await cache.get_or_load("key", load) == "third"
        await cache.aclose()
        await other.aclose()


async def reconnected(stores: Stores) -> None:
    """Return when the cache's store has its connection again."""
    made_before = stores.cache.connections
    async with asyncio.timeout(5):
        while stores.cache.connections == made_before:
            try:
                await stores.cache.command("PING")
            except StoreUnavailable:
                await asyncio.sleep(0.005)


async def test_without_info_callers_still_share_one_load(embedded: StoreWorld) -> None:
    """Concurrent callers of one process have one load, of small and of bulky values, which are stored elsewhere."""
    async with account(embedded, "-info") as stores:
        cache = open_cache(embedded, stores.cache)
        for key, value in (("small", "x"), ("bulky", "x" * 100_000)):
            load = Loader(value)
            found = await asyncio.gather(*(cache.get_or_load(key, load) for _ in range(5)))
            assert found == [value] * 5
            assert await cache.get_or_load(key, load) == value
            assert load.calls == 1
        await cache.aclose()


async def test_every_optional_command_can_be_denied(embedded: StoreWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Sessions and limits work without the optional commands; each that the handshake misses is logged once."""
    denied = ("-info", "-role", "-script", "-client", "-wait", "-waitaof", "-subscribe", "-publish", "-config")
    with caplog.at_level(logging.WARNING, "tollhouse.stores"):
        async with account(embedded, *denied) as stores:
            sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
            issued = made(await sessions.create("ada"))
            assert await sessions.verify(issued.token) == issued.session
            assert not issued.durable
            assert (await sessions.revoke("ada", issued.session.sid)).found
            assert await sessions.verify(issued.token) is None

            limiter: Limiter = open_limiter(stores.limits, {}, embedded.keyring, embedded.metrics)
            await limiter.aclose()
            await stores.sessions.command("PING")

    logged = [vars(record) for record in caplog.records if vars(record)["event"] == MISSING]
    assert sorted(one["command"] for one in logged if one["store"] == "sessions") == [
        "CLIENT CAPA",
        "INFO",
        "SCRIPT LOAD",
    ]


@pytest.mark.parametrize(("command", "words"), [("WAITAOF", "denied"), ("WAITAOF", "unknown"), ("WAIT", "denied")])
async def test_what_keeps_a_write_from_being_durable_is_logged(
    command: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A command that is missed later than in the handshake is logged once as well, when it is missed."""
    old = Primary()
    old.appends = command == "WAITAOF"
    setattr(old, words, frozenset({command}))
    async with scene(old=old) as s:
        if command == "WAIT":
            s.locator.promise(1)
        with caplog.at_level(logging.WARNING, "tollhouse.stores"):
            for _ in range(2):
                assert await s.store.run_durably("test/once", [], []) == ([1], False)

    logged = [vars(record) for record in caplog.records if vars(record)["event"] == MISSING]
    assert [(one["command"], one["cost"]) for one in logged] == [(command, COSTS[command])]


async def test_scripts_that_may_not_be_loaded_are_sent(embedded: StoreWorld) -> None:
    """Without SCRIPT the text of a script goes with its first call."""
    async with account(embedded, "-script") as stores:
        await embedded.command("limits", "SCRIPT", "FLUSH")
        sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
        assert made(await sessions.create("ada")).session.user == "ada"


async def test_without_scripts_no_store_opens(embedded: StoreWorld) -> None:
    """An account that may run no script at all is told so by the connection, once and with the remedy."""
    async with account(embedded, "-@scripting") as stores:
        for call in (stores.limits.ping, lambda: stores.limits.run("limits/peek", ["k"], [1])):
            with pytest.raises(StoreUnavailable, match="run scripts that write its keys") as raised:
                await call()
            assert raised.value.outcome == "not-sent"
        assert stores.limits.connections == 0


async def test_a_server_that_is_busy_may_have_the_right_to_scripts() -> None:
    """Only a right that is missing is a mistake; a server that refuses for another reason is connected to."""
    old = Primary(lambda command: ErrorReply("BUSY a script runs") if command[0] == "EVAL" else 1)
    old.denied = frozenset({"SCRIPT"})
    async with scene(old=old) as s:
        assert await s.store.run("test/once", [], []) == [1]


async def test_a_script_that_is_not_known_by_its_digest_is_sent_as_text(embedded: StoreWorld) -> None:
    """Without EVALSHA the text goes with every call."""
    async with account(embedded, "-evalsha") as stores:
        sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
        issued = made(await sessions.create("ada"))
        assert await sessions.verify(issued.token) == issued.session


async def test_an_account_that_lacks_keys_is_told_the_remedy(embedded: StoreWorld) -> None:
    """A call on keys that the account may not touch is refused, and the reason says what to allow."""
    async with account(embedded, "resetkeys", "~other:*") as stores:
        sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
        with pytest.raises(StoreUnavailable, match=r"tollhouse:\*") as raised:
            await sessions.create("ada")
        assert raised.value.outcome == "rejected"


async def test_without_info_the_statistics_of_the_cache_lack_the_memory(embedded: StoreWorld) -> None:
    """A cache that is well says so, whatever its account may ask the server."""
    async with account(embedded, "-info") as stores:
        cache = open_cache(embedded, stores.cache)
        await cache.get_or_load("key", Loader("value"))
        stats = await cache.stats()
        assert (stats.available, stats.stats.misses) == (True, 1)
        assert (stats.stats.used_memory, stats.detail.used_memory_bytes) == ("unknown", 0)


async def test_check_says_what_each_missing_command_costs(embedded: StoreWorld) -> None:
    """`tollhouse check` names the commands that an account lacks, the stores that miss them, and what is lost."""
    async with account(embedded, "-info", "-waitaof", "-subscribe", "-publish") as stores:
        found = [await status.missing_commands(store) for store in stores.all()]
        by_store = {
            store.name: [one.command for one in lacks] for store, lacks in zip(stores.all(), found, strict=True)
        }
        assert by_store == {
            "sessions": ["INFO", "WAITAOF", "PUBLISH", "SUBSCRIBE"],
            "limits": ["INFO", "PUBLISH", "SUBSCRIBE"],
            "cache": ["INFO"],
            "accounts": ["INFO", "WAITAOF"],
        }
        statuses = [await status.examine(store) for store in stores.all()]

    said = [line for line in warnings(statuses, keyed=True) if "is not available" in line]
    assert [line.partition(":")[0] for line in said] == [
        "sessions, limits, cache, accounts",
        "sessions, accounts",
        "sessions, limits",
        "sessions, limits",
    ]
    assert all(COSTS[command] in line for command, line in zip(by_store["sessions"], said, strict=True))


async def test_an_account_with_all_rights_lacks_none(embedded: StoreWorld) -> None:
    """Without a restriction there is no warning, and looking for one changes no data."""
    before = [await embedded.command(store.name, "DBSIZE") for store in embedded.stores.all()]
    assert [await status.missing_commands(store) for store in embedded.stores.all()] == [()] * 4
    assert [await embedded.command(store.name, "DBSIZE") for store in embedded.stores.all()] == before


async def test_a_store_that_is_down_lacks_nothing_that_is_known() -> None:
    """If no server answers, the problem of the store is reported, and no right."""
    primary = await Primary().open()
    store = store_with(ScriptedLocator(at(primary)), deadline_s=0.2)
    await primary.close()
    assert await status.missing_commands(store) == ()
    await store.aclose()


async def test_a_server_that_ends_the_examination_is_down() -> None:
    """A connection that is lost while the rights are looked for raises what every lost call raises."""
    async with scene() as s:
        await answered(s.store)
        s.old.denied = frozenset({"HELLO"})
        with pytest.raises(StoreUnavailable):
            await s.store.missing_commands()


@pytest.mark.parametrize(
    ("software", "version", "too_old"),
    [
        ("redis", "6.2.14", True),
        ("redis", "5.0.7", True),
        ("redis", "7.0.0", False),
        ("redis", "8.2.1", False),
        ("valkey", "7.2.5", False),
        ("other", "1.0", False),
        ("redis", "unstable", False),
    ],
)
async def test_servers_before_redis_7_are_refused(software: str, version: str, *, too_old: bool) -> None:
    """A server that is too old is refused at once, with the version that is needed."""
    old = Primary()
    old.software, old.version = software, version
    async with scene(old=old) as s:
        if not too_old:
            assert await s.store.run("test/once", [], []) == [1]
            return
        with pytest.raises(StoreUnavailable, match=r"needs Redis 7\.0 or Valkey 7\.2") as raised:
            await s.store.run("test/once", [], [])
        assert raised.value.outcome == "not-sent"
        assert s.old.accepted == 1


async def test_a_server_that_cannot_read_the_scripts_is_told_to_be_too_old() -> None:
    """Redis 6.2 does not compile a script that begins with its flags; what is told is the version, not that."""
    old = Primary()
    old.software, old.version = "redis", "6.2.14"
    old.loads = "ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'"
    async with scene(old=old) as s:
        with pytest.raises(StoreUnavailable, match=r"needs Redis 7\.0 or Valkey 7\.2"):
            await s.store.run("test/once", [], [])


async def test_a_server_without_hello_is_too_old() -> None:
    """Redis 5 does not know HELLO, with which every connection begins."""
    old = Primary()
    old.unknown = frozenset({"HELLO"})
    async with scene(old=old) as s:
        with pytest.raises(StoreUnavailable, match=r"needs Redis 7\.0"):
            await s.store.run("test/once", [], [])


async def test_database_0_needs_no_right_to_select() -> None:
    """A connection begins in database 0; an account that may not select one still works there."""
    old = Primary()
    old.denied = frozenset({"SELECT"})
    async with scene(old=old) as s:
        assert await s.store.run("test/once", [], []) == [1]


async def test_without_info_every_connection_but_the_first_replays() -> None:
    """P4: a primary without a name may be another one, so what must not be lost is repeated on each new connection."""
    replays: list[int] = []

    async def replay(run: object) -> None:
        replays.append(1)

    old = Primary()
    old.denied = frozenset({"INFO"})
    async with scene(old=old) as s:
        s.store.on_new_primary(replay)
        await answered(s.store)
        assert replays == []
        s.old.drop()
        await answered(s.store)
        assert replays == [1]


def named(text: str, seen_s: float) -> ServiceHealth:
    return ServiceHealth(
        service="main",
        promotable=0,
        generation=None,
        reason="",
        silent=(),
        primary_name=PrimaryName(text=text, seen_s=seen_s),
    )


async def name_sent(s: Scene) -> str:
    """Return the name of the primary that a call gives to its script."""
    async with asyncio.timeout(5):
        while True:
            try:
                await s.store.run("test/bound", [], [PRIMARY])
                return s.old.seen[-1][1][-1]
            except StoreUnavailable:
                await asyncio.sleep(0.005)


async def test_without_info_a_primary_has_the_name_that_sentinel_gives_it() -> None:
    """That name counts once its server has confirmed it after the connection was made, and as long as that lasts."""
    old = Primary()
    old.denied = frozenset({"INFO"})
    async with scene(old=old) as s:
        now_s = asyncio.get_running_loop().time
        s.locator.state = named("before", now_s())
        own = await name_sent(s)
        assert own != "before"
        assert len(own) == 16

        s.locator.state = named("since", now_s() + 0.001)
        assert await name_sent(s) == "since"
        s.locator.state = None
        assert await name_sent(s) == "since"

        s.old.drop()
        again = await name_sent(s)
        assert again not in ("since", own)
        s.locator.state = named("since", now_s() + 0.001)
        assert await name_sent(s) == "since"


async def test_with_info_a_primary_has_its_replication_id() -> None:
    """What Sentinel calls it is of no concern then: all processes with that right say the same."""
    async with scene() as s:
        s.locator.state = named("other", asyncio.get_running_loop().time() + 10)
        assert await name_sent(s) == "old"


@pytest.fixture
def cluster() -> Iterator[SentinelCluster]:
    cluster = SentinelCluster.start()
    yield cluster
    cluster.stop()


@pytest.mark.sentinel
async def test_without_info_processes_share_a_cache_behind_sentinel(cluster: SentinelCluster) -> None:
    """P6: they serve what others stored, and after a failover nothing of before, whatever the new primary holds."""
    for node in cluster.nodes:
        cluster.call(node, "ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-info")
    for sentinel in cluster.sentinels:
        cluster.call(sentinel, "SENTINEL", "DEBUG", "INFO-PERIOD", 100)
    own = urlsplit(cluster.url)
    url = own._replace(netloc=f"limited:pw@{own.netloc.rpartition('@')[2]}").geturl()
    settings = Settings(url=url, secret=(b"s" * 32,))
    async with tollhouse.open(settings) as first, tollhouse.open(settings) as second:
        before = Loader("before")
        await shared(before, first, second, "a")

        cluster.call(cluster.sentinels[0], "SENTINEL", "FAILOVER", "main")
        await replaced(first, second)

        after = Loader("after")
        assert await first.cache.get_or_load("a", after) == "after"
        await shared(after, first, second, "a")


async def shared(load: Loader, first: Tollhouse, second: Tollhouse, key: str) -> None:
    """Return when one process is served what the other one loads."""
    async with asyncio.timeout(20):
        while True:
            loads = load.calls
            for process in (first, second):
                await process.cache.invalidate(key)
                await first.cache.get_or_load(key, load)
                await second.cache.get_or_load(key, load)
            if load.calls == loads + 2:
                return
            await asyncio.sleep(0.05)


async def replaced(*processes: Tollhouse) -> None:
    """Return when the processes are connected to another primary."""
    async with asyncio.timeout(20):
        while any(one.stores.cache.connections < 2 for one in processes):
            for process in processes:
                with suppress(StoreUnavailable):
                    await process.stores.cache.ping()
            await asyncio.sleep(0.05)


async def test_information_about_a_store_that_is_down_is_an_error() -> None:
    """Only an account that may not run INFO gets none; a store that does not answer is unavailable."""
    primary = await Primary().open()
    store = store_with(ScriptedLocator(at(primary)), deadline_s=0.2)
    await primary.close()
    with pytest.raises(StoreUnavailable):
        await store.info("memory")
    await store.aclose()
