"""Accounts whose stores and hashing a specification disturbs."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from tests import watched
from tests.accounts import HERE, Setup
from tollhouse.accounts.hashing.argon2id import POOL_MEMORY_KIB
from tollhouse.accounts.hashing.pool import HashPool
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.metrics import Metrics

DOWN = StoreUnavailable("accounts", "not-sent", "it is down")


class Accounts:
    """A store of accounts that raises StoreUnavailable in place of the scripts in `failing`."""

    def __init__(self, store):
        self.store = store
        self.failing = ()

    async def run(self, script, names, args):
        if script in self.failing:
            raise DOWN
        return await self.store.run(script, names, args)

    async def run_durably(self, script, names, args):
        if script in self.failing:
            raise DOWN
        return await self.store.run_durably(script, names, args)


class Pool:
    """Runs hashes in threads, which wait for the gate; with `full` it refuses like a queue that is too slow."""

    def __init__(self, threads=8):
        self.pool = HashPool(2 * threads, POOL_MEMORY_KIB, Metrics())  # half of the permits are for trusted callers
        self.memory_kib = POOL_MEMORY_KIB
        self.full = False
        self.called = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)

    def require_place(self, *, trusted):
        self.pool.require_place(trusted=trusted)

    async def run(self, function, *arguments, trusted=False, memory_kib=0):
        self.called.set()
        await self.open.wait()
        if self.full:
            raise Overloaded("password hashing", 2_000)
        gated = (self._gated(one) if getattr(one, "__name__", "") == "on_begin" else one for one in arguments)
        return await self.pool.run(function, *gated, trusted=trusted, memory_kib=memory_kib)

    async def until_begun(self, many=1):
        for _ in range(many):
            assert await asyncio.to_thread(self.begun.acquire, timeout=10)

    def wait_in_thread(self):
        self.begun.release()
        assert self.gate.wait(10)

    def close(self):
        self.pool.close()

    def _gated(self, on_begin):
        def begin():
            on_begin()
            self.wait_in_thread()

        return begin


class Service(Setup):
    """Accounts of which a specification disturbs the stores and the hashing."""

    def __init__(self, world, **pool):
        self.limits = watched.WatchedStore(world.stores.limits)
        self.store = Accounts(world.stores.accounts)
        self.pool = Pool(**pool)
        stores = SimpleNamespace(accounts=self.store, limits=self.limits, sessions=world.stores.sessions)
        limiter = Limiter(self.limits, BUILT_IN, world.keyring, world.metrics)
        super().__init__(world, stores=stores, limiter=limiter, pool=self.pool)

    async def left_of_sign_up(self):
        return (await self.limiter.peek("signup", f"address:{HERE}")).limits[0].remaining

    async def close(self):
        self.pool.gate.set()
        self.pool.open.set()
        self.limits.release()
        await self.accounts.aclose()
        self.passwords.close()


async def left_by(call):
    """Cancel a call, and wait until it has ended."""
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
