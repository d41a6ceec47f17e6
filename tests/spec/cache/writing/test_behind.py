"""`cache.write_behind`: readers have a value at once, its source later, in order, at least once (S4-65, S2-09)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.caches import PATIENCE_S, GatedLoader, Loader, Seam, Timeline, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.writing.consumer import IDLE_MS, LEASE_MS, OUTAGE_MS, RETRY_MS, QueuedWrite
from tollhouse.cache.writing.queue import WriteQueue
from tollhouse.errors import ConfigurationError, InvalidInput, Overloaded, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import PREFIX

QUEUE_WRITE, NEXT_WRITE, END_WRITE = "cache/queue_write", "cache/next_write", "cache/end_write"
KEY = "row:1"
QUEUE, DEAD = "tollhouse:@queue:{0}:rows", "tollhouse:@dead:{0}:rows"


class Source:
    """A source that writes are applied to; it fails while `failing`, and waits at its gate."""

    def __init__(self) -> None:
        self.writes: list[QueuedWrite[Any]] = []
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._called = asyncio.Event()

    async def __call__(self, write: QueuedWrite[Any]) -> None:
        self.writes.append(write)
        self._called.set()
        await self.gate.wait()
        if self.failing:
            raise ConnectionError("the secret of row 1")

    @property
    def values(self) -> list[Any]:
        return [write.value for write in self.writes]

    async def until(self, calls: int) -> None:
        """Wait until it was called so many times."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.writes) < calls:
                self._called.clear()
                await self._called.wait()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def timeline(world: World) -> Timeline:
    return Timeline(world)


@pytest.fixture
def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam, timeline: Timeline) -> Cache:
    cache = open_cache(world, seam, sleep=timeline.sleep)
    await cache.set(KEY, "old")
    return cache


def queue_of(world: World) -> WriteQueue:
    return WriteQueue(world.stores.cache, KeyNames(world.keyring, PREFIX), "rows")


async def queued(world: World) -> int:
    return await world.command("cache", "XLEN", QUEUE)


async def test_readers_have_the_value_at_once_and_the_source_has_it_later(cache: Cache, source: Source, world: World):
    """S4-65: a value is found before it is applied; writes are applied in their order, with the key and a version."""
    source.gate.clear()
    async with cache.write_behind("rows", source) as writes:
        receipt = await writes.put(KEY, "new", id="write 1", tags=["table"])
        await source.until(1)
        assert await cache.get_or_load(KEY, Loader("unused")) == "new"
        await writes.put(KEY, "newer")
        await writes.put("row:2", "other")
        source.gate.set()
        await source.until(3)

    first, second, third = source.writes
    assert (receipt.id, first.id, first.key, first.attempt) == ("write 1", "write 1", KEY, 1)
    assert [first.value, second.value, third.value] == ["new", "newer", "other"]
    assert first.version < second.version < third.version < 2**63
    assert await queued(world) == 0
    assert await cache.get_or_load(KEY, Loader("unused")) == "newer"
    await cache.invalidate_tags("table")
    assert await cache.get(KEY) == "newer"


@dataclass
class Row:
    number: int


async def test_values_are_decoded_as_the_type(cache: Cache, source: Source):
    """`apply` gets what was put, not a dict."""
    async with cache.write_behind("rows", source, type=Row) as writes:
        await writes.put(KEY, Row(7))
        await source.until(1)

    assert source.values == [Row(7)]


async def test_until_it_is_applied_what_the_source_says_is_not_stored(cache: Cache, source: Source, world: World):
    """P6: neither a load that began before nor one that begins meanwhile puts the old value back."""
    other, load = open_cache(world), GatedLoader("old row")
    await cache.invalidate(KEY)
    reading = asyncio.create_task(other.get_or_load(KEY, load))
    await load.began.wait()
    source.gate.clear()
    async with cache.write_behind("rows", source) as writes:
        await writes.put(KEY, "new")
        load.gate.set()
        assert await reading == "old row"
        assert await other.get(KEY) == "new"

        await other.clear()
        assert await other.get_or_load(KEY, Loader("old row")) == "old row"
        assert await other.get(KEY) is None
        await source.until(1)
        source.gate.set()

    assert await other.get_or_load(KEY, Loader("new row")) == "new row"
    assert await other.get(KEY) == "new row"


async def test_a_load_that_was_stored_meanwhile_is_removed(cache: Cache, source: Source, world: World):
    """cache/end_write: if the hold was lost, as when the server evicts it, the end of the write invalidates."""
    async with cache.write_behind("rows") as writes:
        await writes.put(KEY, "new")
    names = KeyNames(world.keyring, PREFIX).entries(KEY)[0]
    await world.command("cache", "DEL", names.lease)
    await cache.invalidate(KEY)
    assert await cache.get_or_load(KEY, Loader("old row")) == "old row"

    async with cache.write_behind("rows", source):
        await source.until(1)

    assert await cache.get(KEY) is None


async def test_the_hold_of_a_later_write_stays(cache: Cache, source: Source, world: World):
    """The end of one write does not end what belongs to the next."""
    async with cache.write_behind("rows", source) as writes:
        await source_is_slow_at(source, writes.put(KEY, "first"))
        await writes.put(KEY, "second")
        source.gate.set()
        await source.until(2)
        source.gate.clear()

    assert await cache.get(KEY) == "second"


async def source_is_slow_at(source: Source, put: Awaitable[Any]) -> None:
    source.gate.clear()
    calls = len(source.writes)
    await put
    await source.until(calls + 1)


async def test_the_hold_of_an_invalidation_goes_on(cache: Cache, source: Source, timeline: Timeline):
    """Loads that read a lagging replica are kept out as long as that may lag, whatever is written meanwhile."""
    await cache.invalidate(KEY, hold_ms=60_000)
    async with cache.write_behind("rows", source) as writes:
        await writes.put(KEY, "new")
        await source.until(1)
    assert await cache.get(KEY) == "new"

    await cache.clear()
    assert await cache.get_or_load(KEY, Loader("old row")) == "old row"
    assert await cache.get(KEY) is None
    await timeline.advance(60_001)
    await cache.get_or_load(KEY, Loader("new row"))
    assert await cache.get(KEY) == "new row"


async def test_a_full_queue_refuses_and_loses_nothing(cache: Cache, source: Source, world: World):
    """cache/queue_write: the caller is told, and neither the queue nor the value for readers changes."""
    async with cache.write_behind("rows", length_max=1) as writes:
        await writes.put("row:2", "first")
        with pytest.raises(Overloaded):
            await writes.put(KEY, "new")

    assert await cache.get(KEY) == "old"
    assert await queued(world) == 1
    async with cache.write_behind("rows", source):
        await source.until(1)
    assert source.values == ["first"]


async def test_a_write_that_fails_is_tried_again_ever_more_rarely(
    cache: Cache, source: Source, timeline: Timeline, caplog: pytest.LogCaptureFixture
):
    """The wait doubles; those behind wait too, because order counts; the log names the write, not its key."""
    source.failing = True
    async with cache.write_behind("rows", source) as writes:
        await writes.put(KEY, "new", id="write 1")
        await writes.put("row:2", "other")
        for attempt in range(1, 4):
            await source.until(attempt)
            await timeline.until_asleep(2)
            await timeline.advance((RETRY_MS << (attempt - 1)) - 1)
            await asyncio.sleep(0)
            assert len(source.writes) == attempt
            source.failing = attempt < 3
            await timeline.advance(1)
        await source.until(5)

    assert [(write.id, write.attempt) for write in source.writes[:4]] == [("write 1", number) for number in range(1, 5)]
    assert source.values[4] == "other"
    assert next(record.getMessage() for record in caplog.records) == (
        'write not applied, and tried again queue="rows" id="write 1" attempt=1 reason="ConnectionError"'
    )


async def test_a_write_that_fails_for_good_is_a_dead_letter(cache: Cache, source: Source, world: World):
    """After its attempts it is kept apart, its value is removed, and the next write is applied."""
    source.failing = True
    async with cache.write_behind("rows", source, attempts_max=1) as writes:
        await writes.put(KEY, "new", id="write 1")
        await source.until(1)
        source.failing = False
        await writes.put("row:2", "other")
        await source.until(2)

    ((_, fields),) = await world.command("cache", "XRANGE", DEAD, "-", "+")
    assert (fields[1], fields[5]) == (b"write 1", b"ConnectionError")
    assert await world.command("cache", "PTTL", DEAD) > 0
    assert await cache.get(KEY) is None
    assert await queued(world) == 0


async def test_a_write_that_kills_its_consumers_is_a_dead_letter(cache: Cache, source: Source, world: World):
    """Attempts count over processes: one that no consumer survives does not go on for ever."""
    async with cache.write_behind("rows", attempts_max=2) as writes:
        await writes.put(KEY, "new")
    for consumer in ("one", "two"):
        await queue_of(world).take(consumer, LEASE_MS)
        await world.advance(LEASE_MS + 1)

    async with cache.write_behind("rows", source, attempts_max=2) as writes:
        await writes.put("row:2", "other")
        await source.until(1)

    assert source.values == ["other"]
    assert await world.command("cache", "XLEN", DEAD) == 1


async def test_another_consumer_takes_over_from_one_that_died(
    cache: Cache, source: Source, timeline: Timeline, world: World
):
    """S2-09: cache/next_write: what it left is applied after its lease, with the same id; its name leaves the group."""
    async with cache.write_behind("rows", source) as writes:
        await writes.put(KEY, "first", id="write 1")
        await source.until(1)
    async with cache.write_behind("rows") as writes:
        await writes.put(KEY, "new", id="write 2")
    assert await queue_of(world).take("died", LEASE_MS) not in (True, False)

    async with cache.write_behind("rows", source):
        await timeline.until_asleep(2)
        assert len(source.writes) == 1
        await timeline.drive(asyncio.ensure_future(source.until(2)), OUTAGE_MS)

    assert (source.writes[1].id, source.writes[1].attempt) == ("write 2", 2)
    assert len(await world.command("cache", "XINFO", "CONSUMERS", QUEUE, "tollhouse")) == 1


async def test_a_consumer_keeps_its_queue_while_it_applies(
    cache: Cache, source: Source, timeline: Timeline, world: World
):
    """However long a write takes, no other process applies it or a later one."""
    other = Source()
    async with cache.write_behind("rows", source, apply_s=600) as writes:
        await source_is_slow_at(source, writes.put(KEY, "new"))
        async with open_cache(world, sleep=timeline.sleep).write_behind("rows", other):
            for _ in range(10):
                await timeline.until_asleep(3)
                await timeline.advance(LEASE_MS // 2)
                await asyncio.sleep(0)
        source.gate.set()

    assert other.writes == []


async def test_a_write_is_not_applied_again_because_its_end_was_not_heard(
    cache: Cache, source: Source, timeline: Timeline, seam: Seam, world: World
):
    """If the store does not answer after a write was applied, it is told later."""
    seam.failing.add(END_WRITE)
    async with cache.write_behind("rows", source) as writes:
        await writes.put(KEY, "new")
        await source.until(1)
        await timeline.until_asleep(2)
        seam.failing.clear()
        await timeline.drive(asyncio.ensure_future(seam.until(END_WRITE, 1)), OUTAGE_MS)

    assert len(source.writes) == 1
    assert await queued(world) == 0


async def test_a_consumer_outlives_an_outage(cache: Cache, source: Source, timeline: Timeline, seam: Seam):
    """While the store is down a put is an error; afterwards the consumer goes on."""
    async with cache.write_behind("rows", source) as writes:
        await timeline.until_asleep(2)
        seam.failing.add("everything")
        with pytest.raises(StoreUnavailable):
            await writes.put(KEY, "new")
        for _ in range(3):
            await timeline.advance(LEASE_MS)
            await asyncio.sleep(0)
            await timeline.until_asleep(2)
        seam.failing.clear()
        await writes.put(KEY, "new")
        await timeline.drive(asyncio.ensure_future(source.until(1)), OUTAGE_MS)

    assert source.values == ["new"]


async def test_writes_of_other_processes_are_found(cache: Cache, source: Source, timeline: Timeline, world: World):
    """A consumer looks into an empty queue twice a second."""
    async with cache.write_behind("rows", source), open_cache(world).write_behind("rows") as writes:
        await timeline.until_asleep(2)
        await writes.put(KEY, "new")
        await timeline.advance(IDLE_MS)
        await source.until(1)

    assert source.values == ["new"]


async def test_an_attempt_has_an_end(cache: Cache, source: Source, world: World):
    """A write that takes longer than `apply_s` has failed."""
    source.gate.clear()
    async with cache.write_behind("rows", source, apply_s=0.01, attempts_max=1) as writes:
        await writes.put(KEY, "new")
        await source.until(1)

    assert await world.command("cache", "XLEN", DEAD) == 1


async def test_a_block_ends_after_the_write_that_is_applied(cache: Cache, source: Source, world: World):
    """The others stay in the queue; `cache.aclose()` ends a block as well, and another consumer may begin at once."""
    writes = cache.write_behind("rows", source)
    async with writes:
        await source_is_slow_at(source, writes.put(KEY, "first"))
        await writes.put(KEY, "second")
        closing = asyncio.create_task(cache.aclose())
        await asyncio.sleep(0)
        source.gate.set()
        await closing
        with pytest.raises(ConfigurationError):
            await writes.__aenter__()

    assert source.values == ["first"]
    assert await queued(world) == 1
    async with cache.write_behind("rows", source):
        await source.until(2)


async def test_a_block_that_is_cancelled_at_its_end_cancels_the_write(cache: Cache, source: Source, world: World):
    """The write stays in the queue for the next consumer."""
    async with cache.write_behind("rows") as producer:
        await producer.put(KEY, "new")
    source.gate.clear()
    writes = cache.write_behind("rows", source)
    await writes.__aenter__()
    await source.until(1)
    closing = asyncio.create_task(writes.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert await queued(world) == 1


async def test_entries_under_an_older_secret_are_removed(world: World):
    """A process that has not the new secret yet serves no old value either."""
    old, new = b"an old secret of 32 bytes or more....", b"a new secret of 32 bytes or more....."
    before = Cache(world.stores.cache, Keyring(secrets=(old,)), world.metrics)
    await before.set(KEY, "old")
    async with Cache(world.stores.cache, Keyring(secrets=(new, old)), world.metrics).write_behind("rows") as writes:
        await writes.put(KEY, "new")

    assert await before.get(KEY) is None


async def test_a_durable_write_says_whether_it_is(cache: Cache):
    """`durable=True` asks the store as an invalidation does."""
    async with cache.write_behind("rows") as writes:
        receipt = await writes.put(KEY, "new", durable=True)

    assert receipt.durable == await cache.invalidate_tags("tag", durable=True)


class Evicting(Seam):
    """A store whose server may evict any key."""

    async def info(self, section: str) -> dict[str, str]:
        return await super().info(section) | {"maxmemory_policy": "allkeys-lru"}


async def test_a_server_that_may_evict_the_queue_is_reported(world: World, caplog: pytest.LogCaptureFixture):
    """The log says so once for each consumer, with the remedy."""
    async with open_cache(world, Evicting(world.stores.cache)).write_behind("rows", Source()):
        pass

    (record,) = caplog.records
    assert record.getMessage().startswith('the server may evict queued writes queue="rows" policy="allkeys-lru"')


async def test_what_cannot_be_queued_is_refused(cache: Cache):
    """A write has at most 1 MiB with its key, a value that can be encoded, and an id of a few characters."""
    async with cache.write_behind("rows") as writes:
        for wrong in ("x" * 1024 * 1024, object()):
            with pytest.raises(InvalidInput):
                await writes.put(KEY, wrong)
        for given in ("", "x" * 129, 7):
            with pytest.raises(InvalidInput):
                await writes.put(KEY, "new", id=given)  # type: ignore[arg-type] - what is refused

    assert await cache.get(KEY) == "old"


@pytest.mark.parametrize(
    ("field", "name", "given"),
    [
        ("write_behind", "Rows", {}),
        ("write_behind", "a:b", {}),
        ("apply", "rows", {"apply": "no function"}),
        ("length_max", "rows", {"length_max": 0}),
        ("attempts_max", "rows", {"attempts_max": 1.5}),
    ],
)
async def test_a_wrong_argument_is_named(cache: Cache, field: str, name: str, given: dict[str, Any]):
    """The name of a queue is a part of key names; bounds are numbers."""
    with pytest.raises((InvalidInput, ConfigurationError)) as refused:
        cache.write_behind(name, **given)

    assert field in str(refused.value)


async def test_a_late_copy_of_a_put_does_not_bring_its_epoch_back(world: World, cache: Cache, seam: Seam):
    """P6: if it began a clock that was lost again, the copy begins another one, with no entry of the first."""

    async def give_up() -> None:
        raise StoreUnavailable("cache", "ambiguous", "the caller gave up")

    seam.before[QUEUE_WRITE] = give_up
    async with cache.write_behind("rows") as writes:
        with pytest.raises(StoreUnavailable):
            await writes.put(KEY, "new")
    clock, epochs = "tollhouse:@clock:{0}", list[bytes]()
    for _ in range(2):
        await world.command("cache", "DEL", clock)
        await world.advance(1)
        await world.stores.cache.run(*seam.given_up[0])
        epochs.append(await world.command("cache", "HGET", clock, "e"))

    assert epochs[0] != epochs[1]
