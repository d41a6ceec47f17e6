"""The cache against a dictionary: in any order of reads, invalidations, losses and delays no old value comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.caches import GatedLoader, Loader, Seam, open_cache
from tests.models.machines import on_each_world, run_machine
from tests.worlds import StoreWorld
from tollhouse.cache.cache import Cache

KEYS = ("a", "b", "c")
TAGS = ("x", "y", "z")
FAMILIES = ("one", "two")
LEASE_MS = 5_000

WorldMaker = Callable[[], AbstractAsyncContextManager[StoreWorld]]
Name = tuple[str, str]

NAMES = st.tuples(st.sampled_from(FAMILIES), st.sampled_from(KEYS))
TAG_SETS = st.frozensets(st.sampled_from(TAGS))


PERMIT_MS = 600_000


class Kept(NamedTuple):
    """A stored value in the dictionary."""

    name: Name
    version: int
    tags: frozenset[str]
    until_ms: int
    stored_ms: int


class Slow:
    """A load in progress that a later rule ends; `doomed` once its value may no longer be stored."""

    def __init__(self, name: Name, tags: frozenset[str], version: int, ttl_s: int) -> None:
        self.name, self.tags, self.version, self.ttl_s = name, tags, version, ttl_s
        self.load = GatedLoader(version)
        self.task: asyncio.Task[Any] | None = None
        self.lease_until_ms = 0
        self.doomed = False

    async def begin(self, cache: Cache) -> None:
        read = cache.fetch(":".join(self.name), self.load, tags=self.tags, ttl_s=self.ttl_s)
        self.task = asyncio.create_task(read)
        await self.load.began.wait()

    async def end(self) -> Any:
        assert self.task is not None
        self.load.gate.set()
        return await self.task


class ByHand:
    """A caller that has missed a value and loaded it for itself; `doomed` once its `set` has to be refused."""

    def __init__(self, name: Name, tags: frozenset[str], version: int, until_ms: int, *, doomed: bool) -> None:
        self.name, self.tags, self.version, self.until_ms = name, tags, version, until_ms
        self.context = Context()
        self.doomed = doomed


async def never(seconds: float) -> None:
    """Sleep for ever: in this model no lease is renewed, and no caller polls."""
    await asyncio.Event().wait()


class CacheAgainstDictionary(RuleBasedStateMachine):
    """Versions only grow, so a value is old if the dictionary no longer has it."""

    def __init__(self, make_world: WorldMaker) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = make_world()
        self.world = self.runner.run(self.opened.__aenter__())
        self.seam = Seam(self.world.stores.cache)
        self.loading, self.reading = (open_cache(self.world, self.seam, sleep=never) for _ in range(2))
        self.kept: dict[Name, Kept] = {}
        self.slow: dict[Name, Slow] = {}
        self.by_hand: dict[Name, ByHand] = {}
        self.held_until_ms: dict[Name, int] = {}
        self.version = 0
        self.primaries = 0

    @initialize()
    def begin_empty(self) -> None:
        self.runner.run(self.world.clear())

    @rule(name=NAMES, tags=TAG_SETS, ttl_s=st.integers(600, 7_200))
    def read(self, name: Name, tags: frozenset[str], ttl_s: int) -> None:
        """A read returns what the dictionary has, or loads; it gets the lease of a slow load only if that is lost."""
        if self.is_leased(name):
            return
        self.version += 1
        key = ":".join(name)

        found = self.runner.run(self.reading.fetch(key, Loader(self.version), tags=tags, ttl_s=ttl_s))

        if found.status == "HIT":
            assert found.value == self.kept[name].version
            return
        assert found.status == "MISS"
        assert not self.is_certain(name)
        assert found.ttl_ms or self.is_held(name)
        assert not found.ttl_ms or not self.is_certainly_held(name)
        if found.ttl_ms:
            self.keep(name, self.version, tags, found.ttl_ms)

    @precondition(lambda self: len(self.slow) < 2)
    @rule(name=NAMES, tags=TAG_SETS, ttl_s=st.integers(600, 7_200))
    def begin_slow_load(self, name: Name, tags: frozenset[str], ttl_s: int) -> None:
        """A load begins if there is no entry, and has read its value when this rule ends."""
        if name in self.slow or name in self.kept or self.is_held(name) != self.is_certainly_held(name):
            return
        self.version += 1
        slow = self.slow[name] = Slow(name, tags, self.version, ttl_s)
        self.runner.run(slow.begin(self.loading))
        slow.doomed = self.is_held(name)
        slow.lease_until_ms = 0 if slow.doomed else self.world.now_ms + LEASE_MS

    @precondition(lambda self: self.slow)
    @rule(data=st.data())
    def end_slow_load(self, data: st.DataObject) -> None:
        """The caller gets the value; it is stored unless something that it depends on was invalidated meanwhile."""
        slow = self.slow.pop(data.draw(st.sampled_from(sorted(self.slow))))

        found = self.runner.run(slow.end())

        assert (found.value, found.status) == (slow.version, "MISS")
        if slow.doomed or self.world.now_ms >= slow.lease_until_ms:
            assert found.ttl_ms == 0
        elif found.ttl_ms or self.world.now_ms + self.world.real_elapsed_ms < slow.lease_until_ms:
            assert found.ttl_ms == slow.ttl_s * 1000
            self.keep(slow.name, slow.version, slow.tags, found.ttl_ms)

    @precondition(lambda self: len(self.by_hand) < 2)
    @rule(name=NAMES, tags=TAG_SETS)
    def get(self, name: Name, tags: frozenset[str]) -> None:
        """A get returns what the dictionary has; if it misses, its caller loads for itself."""
        if name in self.by_hand or self.is_held(name) != self.is_certainly_held(name):
            return
        self.version += 1
        until_ms, is_held = self.world.now_ms + PERMIT_MS, self.is_held(name)
        caller = ByHand(name, tags, self.version, until_ms, doomed=is_held)

        found = self.runner.run(self.reading.get(":".join(name)), context=caller.context)

        if found is not None:
            assert found == self.kept[name].version
            return
        assert not self.is_certain(name)
        self.by_hand[name] = caller

    @precondition(lambda self: self.by_hand)
    @rule(data=st.data(), ttl_s=st.integers(600, 7_200), late=st.sampled_from([False, False, True]))
    def set_after_a_miss(self, data: st.DataObject, ttl_s: int, *, late: bool) -> None:
        """What was loaded after a miss is stored unless something that it depends on was invalidated meanwhile."""
        name = data.draw(st.sampled_from(sorted(self.by_hand)))
        if late:
            self.invalidate_key(name)
        caller = self.by_hand.pop(name)
        setting = self.reading.set(":".join(caller.name), caller.version, ttl_s=ttl_s, tags=caller.tags)

        stored = self.runner.run(setting, context=caller.context)

        if caller.doomed or self.world.now_ms >= caller.until_ms:
            assert not stored
        elif stored or self.world.now_ms + self.world.real_elapsed_ms < caller.until_ms:
            assert stored
            self.keep(caller.name, caller.version, caller.tags, ttl_s * 1000)

    @rule(data=st.data(), tags=TAG_SETS, ttl_s=st.integers(600, 7_200))
    def replace(self, data: st.DataObject, tags: frozenset[str], ttl_s: int) -> None:
        """A set without a miss before it replaces what is stored, and no load or miss of before is stored any more."""
        under_way = sorted({*self.slow, *self.by_hand})
        name = data.draw(NAMES | st.sampled_from(under_way) if under_way else NAMES)
        self.version += 1
        setting = self.reading.set(":".join(name), self.version, ttl_s=ttl_s, tags=tags)

        assert self.runner.run(setting, context=Context())

        self.forget(lambda each: each.name == name)
        self.keep(name, self.version, tags, ttl_s * 1000)
        if name in self.slow:
            self.slow[name].lease_until_ms = 0

    @rule(name=NAMES, hold_ms=st.sampled_from([0, 0, 300_000]))
    def invalidate(self, name: Name, hold_ms: int) -> None:
        """No load is stored during a hold, which another invalidation does not shorten."""
        self.invalidate_key(name, hold_ms)

    def invalidate_key(self, name: Name, hold_ms: int = 0) -> None:
        self.runner.run(self.reading.invalidate(":".join(name), hold_ms=hold_ms))
        self.forget(lambda each: each.name == name)
        if hold_ms:
            self.held_until_ms[name] = max(self.held_until_ms.get(name, 0), self.world.now_ms + hold_ms)
        if name in self.slow:
            self.slow[name].lease_until_ms = 0

    @rule(tags=st.sets(st.sampled_from(TAGS), min_size=1))
    def invalidate_tags(self, tags: set[str]) -> None:
        self.runner.run(self.reading.invalidate_tags(*tags))
        self.forget(lambda each: bool(each.tags & tags))

    @rule()
    def invalidate_many_other_tags(self) -> None:
        """Marks that apply to nothing, more than one step of a sweep takes."""
        self.version += 1
        self.runner.run(self.reading.invalidate_tags(*(f"{self.version}:{number}" for number in range(700))))

    @rule()
    def clear(self) -> None:
        self.runner.run(self.reading.clear())
        self.forget(lambda _: True)

    @rule(family=st.sampled_from(FAMILIES))
    def delete_pattern(self, family: str) -> None:
        """A family is deleted; loads in progress, of any family, are not stored."""
        self.runner.run(self.reading.delete_pattern(f"{family}:*"))
        self.kept = {name: kept for name, kept in self.kept.items() if name[0] != family}
        self.doom(lambda _: True)

    @rule()
    def lose_the_clock(self) -> None:
        """An evicted clock costs misses."""
        self.runner.run(self.world.command("cache", "DEL", "tollhouse:@clock:{0}"))
        self.forget(lambda _: True)

    @rule()
    def another_primary(self) -> None:
        """A failover costs misses."""
        self.primaries += 1
        self.seam.primary = f"{self.primaries:016x}" + "f" * 24
        self.forget(lambda _: True)

    @rule(ms=st.sampled_from([1, 1_000, 4_999, 5_000, 60_000, 600_000, 3_600_000]))
    def advance(self, ms: int) -> None:
        self.runner.run(self.world.advance(ms))
        self.kept = {name: kept for name, kept in self.kept.items() if kept.until_ms > self.world.now_ms}

    @rule(ms=st.integers(1, 59_999))
    def step_back(self, ms: int) -> None:
        """A clock that steps back shortens no lifetime; what it finds stored more than a minute ahead is discarded."""
        self.world.step_back(ms)
        ahead_ms = self.world.now_ms + 60_000
        self.kept = {
            name: kept._replace(until_ms=kept.until_ms - ms)
            for name, kept in self.kept.items()
            if kept.stored_ms <= ahead_ms
        }
        self.held_until_ms = {name: until_ms - ms for name, until_ms in self.held_until_ms.items()}
        for slow in self.slow.values():
            slow.lease_until_ms -= ms
        for caller in self.by_hand.values():
            caller.until_ms -= ms

    @rule(ms=st.integers(1, 59_999))
    def look_from_the_past(self, ms: int) -> None:
        """A clock that steps back a little hides no entry."""
        usable_ms = self.world.now_ms - ms + 60_000
        certain = [name for name, kept in self.kept.items() if self.is_certain(name) and kept.stored_ms <= usable_ms]
        self.world.step_back(ms)
        for name in certain:
            found = self.runner.run(self.reading.fetch(":".join(name), Loader(-1)))
            assert found.value == self.kept[name].version
        self.world.step_back(-ms)

    @invariant()
    def every_entry_expires(self) -> None:
        """P10: no key is without an expiry but the clock and the sums of the families, which `keys.py` lists."""
        for name in self.runner.run(self.world.command("cache", "KEYS", "*")):
            if name not in (b"tollhouse:@clock:{0}", b"tollhouse:@families:{0}"):
                assert self.runner.run(self.world.command("cache", "PTTL", name)) != -1

    def keep(self, name: Name, version: int, tags: frozenset[str], ttl_ms: int) -> None:
        self.kept[name] = Kept(name, version, tags, self.world.now_ms + ttl_ms, self.world.now_ms)

    def is_held(self, name: Name) -> bool:
        """Return whether an invalidation may still keep loads of this key out of the cache."""
        return self.world.now_ms < self.held_until_ms.get(name, 0)

    def is_certainly_held(self, name: Name) -> bool:
        """Return whether it must: real time may have taken a little of its expiry on the server."""
        return self.world.now_ms + self.world.real_elapsed_ms + 10 < self.held_until_ms.get(name, 0)

    def is_leased(self, name: Name) -> bool:
        """Return whether a slow load may still hold its lease."""
        return name in self.slow and self.world.now_ms < self.slow[name].lease_until_ms

    def is_certain(self, name: Name) -> bool:
        """Return whether a value must be there: real time may have taken a little of its expiry on the server."""
        kept = self.kept.get(name)
        return kept is not None and kept.until_ms > self.world.now_ms + self.world.real_elapsed_ms + 10

    def forget(self, gone: Callable[[Kept | Slow | ByHand], bool]) -> None:
        self.kept = {name: kept for name, kept in self.kept.items() if not gone(kept)}
        self.doom(gone)

    def doom(self, gone: Callable[[Kept | Slow | ByHand], bool]) -> None:
        for load in (*self.slow.values(), *self.by_hand.values()):
            load.doomed = load.doomed or gone(load)

    def teardown(self) -> None:
        self.runner.run(self.loading.aclose())
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()


@on_each_world
def test_the_cache_agrees_with_a_dictionary(kind: str, valkey_socket: Path):
    """P6: an invalidated key, tag, family or cache never gives an older value; a lost clock only misses."""
    run_machine(CacheAgainstDictionary, kind, valkey_socket)
