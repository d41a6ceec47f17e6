"""Servers with too few databases, and accounts that may not select one: which database a store uses."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.caches import Loader, open_cache
from tests.failures.fake_sentinel import ErrorReply, SimpleString
from tests.failures.primaries import Primary, Scene, at, scene
from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.cli.check import warnings
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings.model import DatabaseMode
from tollhouse.stores import status
from tollhouse.stores.opening import AnyStore, Stores, open_stores
from tollhouse.stores.urls import Sharing, urls_by_store
from tollhouse.wiring import open_sessions

TOO_FEW = 14
"""With it in the URL, separate databases would be 14 to 17, and the server has 16."""


@asynccontextmanager
async def opened(
    world: StoreWorld, url: str | None = None, databases: DatabaseMode = "auto", **overrides: str
) -> AsyncIterator[Stores]:
    url = f"{world.url}?db={TOO_FEW}" if url is None else url
    urls = urls_by_store(url, overrides, databases=databases)
    stores = open_stores(urls, SCRIPTS, Metrics(), clock=lambda: world.now_ms)
    try:
        yield stores
        await stores.sessions.command("FLUSHDB")
    finally:
        await stores.aclose()


@asynccontextmanager
async def without_select(world: StoreWorld) -> AsyncIterator[str]:
    """Yield a URL of an account that may run everything but SELECT."""
    name, password = f"limited-{secrets.token_hex(4)}", secrets.token_hex(8)
    rules = ("on", f">{password}", "allchannels", "~*", "+@all", "-select")
    await world.command("sessions", "ACL", "SETUSER", name, *rules)
    yield world.url.replace("unix://", f"unix://{name}:{password}@")
    await world.command("sessions", "ACL", "DELUSER", name)


def numbers(stores: Stores) -> list[tuple[int, bool]]:
    """Return the database of each store, and whether it is shared."""
    servers = [store.server for store in stores.all()]
    assert None not in servers
    return [(server.database, server.shares_database) for server in servers if server is not None]


async def connect(*stores: AnyStore) -> None:
    await asyncio.gather(*(store.command("PING") for store in stores))


async def test_with_enough_databases_each_store_has_its_own(embedded: StoreWorld) -> None:
    """Stores that follow from one URL have the database in it and the next three."""
    async with opened(embedded, f"{embedded.url}?db=4") as stores:
        await connect(*stores.all())
        assert numbers(stores) == [(4, False), (5, False), (6, False), (7, False)]


async def test_with_too_few_databases_the_stores_share_one(
    embedded: StoreWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """They share the database of the URL, also if some of theirs exist; the log says it once, with the remedy."""
    with caplog.at_level(logging.WARNING, "tollhouse.stores"):
        async with opened(embedded) as stores:
            await connect(*stores.all())
            await stores.limits.run("limits/reset", ["tollhouse:rate:{t}:x"], [])
            assert numbers(stores) == [(TOO_FEW, True)] * 4
            for number, store in enumerate(stores.all()):
                await store.command("SET", f"test:{number}", "x")
            assert await stores.sessions.command("DBSIZE") == 4

    logged = [vars(record) for record in caplog.records if vars(record)["event"] == "stores share one database"]
    assert [(one["database"], "TOLLHOUSE_CACHE_URL" in one["remedy"]) for one in logged] == [(TOO_FEW, True)]


async def test_an_account_that_may_not_select_shares_database_0(embedded: StoreWorld) -> None:
    """A connection begins in database 0, and the prefixes of the stores keep their keys apart there."""
    async with without_select(embedded) as url, opened(embedded, url) as stores:
        await connect(*stores.all())
        assert numbers(stores) == [(0, True)] * 4
        sessions = open_sessions(stores.sessions, embedded.keyring, embedded.metrics)
        issued = await sessions.create("ada")
        assert isinstance(issued, Issued)
        assert await sessions.verify(issued.token) == issued.session


async def test_an_account_that_may_not_select_has_no_other_database(embedded: StoreWorld) -> None:
    """If the URL names another one than 0, that is a mistake with a remedy, and nothing is kept elsewhere."""
    async with without_select(embedded) as url:
        stores = open_stores(urls_by_store(f"{url}?db=1", {}), SCRIPTS, Metrics())
        with pytest.raises(StoreUnavailable, match="SELECT") as raised:
            await stores.sessions.command("PING")
        assert raised.value.outcome == "not-sent"
        await stores.aclose()


async def test_a_store_with_a_url_of_its_own_shares_nothing(embedded: StoreWorld) -> None:
    """Its database is the one that its URL names; the others need no more databases than they have stores."""
    async with opened(embedded, cache=f"{embedded.url}?db=9", accounts=f"{embedded.url}?db=10") as stores:
        await connect(*stores.all())
        assert numbers(stores) == [(14, False), (15, False), (9, False), (10, False)]


async def test_databases_can_be_shared_on_purpose(embedded: StoreWorld) -> None:
    """With `shared` the stores have the database of the URL, however many the server has."""
    async with opened(embedded, f"{embedded.url}?db=3", databases="shared") as stores:
        assert [store.url.db for store in stores.all()] == [3] * 4
        await connect(*stores.all())
        assert numbers(stores) == [(3, True)] * 4


async def test_separate_databases_can_be_required(embedded: StoreWorld) -> None:
    """With `separate` a store without its database is not used; the others are."""
    async with opened(embedded, databases="separate") as stores:
        await connect(stores.sessions, stores.limits)
        for store in (stores.cache, stores.accounts):
            with pytest.raises(StoreUnavailable, match="TOLLHOUSE_DATABASES=shared"):
                await store.command("PING")


async def test_check_says_that_stores_share_a_database(embedded: StoreWorld) -> None:
    """The warning names the stores, their database, and how to separate them; the place is the one in use."""
    async with opened(embedded) as stores:
        found = [await status.examine(store) for store in stores.all()]
    (line,) = [one for one in warnings(found, keyed=True) if "share" in one]
    assert line.startswith(f"sessions, limits, cache, accounts: share database {TOO_FEW}: ")
    assert "TOLLHOUSE_CACHE_URL" in line
    assert {one.place for one in found} == {found[0].place}


async def test_the_statistics_of_a_cache_count_no_keys_of_other_stores(embedded: StoreWorld) -> None:
    """In a shared database the entries of the cache are counted, and nothing else that is there."""
    async with opened(embedded) as stores:
        await stores.cache.command(
            "MSET", *(word for n in range(50) for word in (f"tollhouse:session:{{aa}}:{n}", "x"))
        )
        cache = open_cache(embedded, stores.cache)
        for number in range(3):
            await cache.get_or_load(f"key {number}", Loader("value"), tags=["t"])
        assert (await cache.stats()).stats.total_keys == 3
        await cache.aclose()


class Databases:
    """The databases of a scripted primary: it selects those below `count`, and says `words` of others."""

    def __init__(self, count: int, words: str = "ERR DB index is out of range") -> None:
        self.count = count
        self.words = words
        self.asked: list[int] = []

    def select(self, number: int) -> object:
        self.asked.append(number)
        return SimpleString("OK") if number < self.count else ErrorReply(self.words)


@asynccontextmanager
async def two_primaries(before: Databases, after: Databases) -> AsyncIterator[Scene]:
    """Open a store with database 2 of four that may be shared, on two primaries."""
    old = Primary(name="old")
    old.select = before.select
    async with scene(old=old, db=2, sharing=Sharing(db=0, last=3)) as s:
        s.new.select = after.select
        yield s


@pytest.mark.parametrize(("first", "then", "used"), [(16, 16, 2), (1, 16, 0), (1, 1, 0), (3, 16, 0), (3, 3, 0)])
async def test_the_first_handshake_decides_for_later_primaries(first: int, then: int, used: int) -> None:
    """On the next primary a store uses the database that it had on the first one, which decides alone."""
    before, after = Databases(first), Databases(then)
    async with two_primaries(before, after) as s:
        await s.store.run("test/once", [], [])
        s.locator.move(s.new)
        await s.store.run("test/once", [], [])

    assert before.asked[-1] == used
    assert after.asked == [used]


async def test_separate_stores_are_not_moved_to_a_shared_database() -> None:
    """A later primary with too few databases is an error, which names the remedy."""
    after = Databases(1)
    async with two_primaries(Databases(16), after) as s:
        await s.store.run("test/once", [], [])
        s.locator.move(s.new)
        with pytest.raises(StoreUnavailable, match="refuses database 2"):
            await s.store.run("test/once", [], [])
    assert set(after.asked) == {2}
    assert "EVALSHA" not in s.new.verbs()


async def test_a_server_that_is_not_ready_decides_nothing() -> None:
    """Only a refusal that will not end makes stores share: a server that loads its data may have enough databases."""
    loading = Databases(0, "LOADING Redis is loading the dataset in memory")
    async with two_primaries(loading, Databases(16)) as s:
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], [])
        s.locator.move(s.new)
        s.locator.address = at(s.new)
        await s.store.run("test/once", [], [])
        assert s.store.server is not None
        assert (s.store.server.database, s.store.server.shares_database) == (2, False)


@pytest.mark.parametrize(
    "words",
    [
        "ERR SELECT is not allowed in cluster mode",
        "ERR unknown command 'SELECT', with args beginning with: '3'",
        "NOPERM User x has no permissions to run the 'select' command",
    ],
)
async def test_every_lasting_refusal_is_one(words: str) -> None:
    """Servers that have one database, renamed commands and missing rights are alike: database 0 is shared."""
    async with two_primaries(Databases(0, words), Databases(0)) as s:
        if words.startswith("ERR SELECT"):
            s.old.select = lambda number: SimpleString("OK") if number == 0 else ErrorReply(words)
        await s.store.run("test/once", [], [])
        assert s.store.server is not None
        assert (s.store.server.database, s.store.server.shares_database) == (0, True)
