"""Worlds: a set of stores and a clock that only tests move.

`advance` moves the clock that every script is given and shortens every key's time to live by as much,
so that fields and expiries agree on a real server without waiting.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from tollhouse import scripts
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import AnyStore, Stores, open_stores
from tollhouse.stores.transport.redial import connection_timing
from tollhouse.stores.urls import urls_by_store

PATIENCE_S = 20.0
"""The deadline of a call to a world's stores: it bounds a hang, and a machine that stands still for seconds is none."""
_KEYS_AT_A_TIME = 50
SCRIPTS = scripts.load()
START_MS = 1_800_000_000_000


class World(Protocol):
    """The stores, keys and clock of a specification, the same for every kind of store."""

    name: str
    stores: Stores
    keyring: Keyring
    metrics: Metrics

    @property
    def now_ms(self) -> int: ...
    @property
    def real_elapsed_ms(self) -> float: ...
    async def advance(self, ms: int) -> None: ...
    def step_back(self, ms: int) -> None: ...
    async def command(self, store: str, *parts: str | bytes | int) -> Any: ...


class StoreWorld:
    """A world over the stores at one URL."""

    def __init__(self, name: str, url: str, loaded: scripts.Scripts = SCRIPTS) -> None:
        self.name = name
        self.url = url
        self._loaded = loaded
        self.keyring = Keyring(secrets=(b"a secret for tests, 32 bytes or more",))
        self.metrics = Metrics()
        self._now_ms = START_MS
        self._began_s = time.monotonic()
        self._opened: list[Stores] = []
        self.stores = self.open_stores()

    @property
    def now_ms(self) -> int:
        return self._now_ms

    @property
    def real_elapsed_ms(self) -> float:
        """Milliseconds of real time since the world began, by which real TTLs have become shorter."""
        return (time.monotonic() - self._began_s) * 1000

    def open_stores(self) -> Stores:
        """Open a second set of connections to the same data, as another process would have; it ends with the world."""
        opened = open_stores(
            urls_by_store(self.url, {}),
            self._loaded,
            self.metrics,
            clock=lambda: self._now_ms,
            deadline_s=PATIENCE_S,
            timing=connection_timing(round(100 * PATIENCE_S)),
        )
        self._opened.append(opened)
        return opened

    async def advance(self, ms: int) -> None:
        self._now_ms += ms
        for store in self.stores.all():
            keys = await store.command("KEYS", "*")
            for first in range(0, len(keys), _KEYS_AT_A_TIME):
                await asyncio.gather(*(_age(store, key, ms) for key in keys[first : first + _KEYS_AT_A_TIME]))

    def step_back(self, ms: int) -> None:
        self._now_ms -= ms

    async def command(self, store: str, *parts: str | bytes | int) -> Any:
        return await getattr(self.stores, store).command(*parts)

    async def clear(self) -> None:
        for store in self.stores.all():
            await store.command("FLUSHDB")

    async def aclose(self) -> None:
        """Close all connections, those that a test opened and left open because it failed included."""
        for opened in self._opened:
            await opened.aclose()


@asynccontextmanager
async def fake_world(loaded: scripts.Scripts = SCRIPTS) -> AsyncIterator[StoreWorld]:
    """A world inside this process, with data of its own; `loaded` are its scripts."""
    async with aclosing(StoreWorld("fake", f"fake://{secrets.token_hex(8)}", loaded)) as world:
        yield world


@asynccontextmanager
async def embedded_world(socket_path: Path) -> AsyncIterator[StoreWorld]:
    """A world on the real server of the test run; it begins empty."""
    async with aclosing(StoreWorld("embedded", f"unix://{socket_path}")) as world:
        await world.clear()
        yield world


async def _age(store: AnyStore, key: bytes, ms: int) -> None:
    """Shorten the time to live of a key."""
    left_ms = await store.command("PTTL", key)
    if left_ms > ms:
        await store.command("PEXPIRE", key, left_ms - ms)
    elif left_ms >= 0:
        await store.command("DEL", key)
