"""The server of the races over the cache, with all that happens to it, and the links of processes to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from tests.simulation.loop import VirtualLoop
from tests.simulation.valkey.keyspace import Keyspace
from tests.simulation.valkey.scripting import run_script
from tollhouse import scripts
from tollhouse.cache.key_names import KeyNames
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import PREFIX
from tollhouse.scripts import PRIMARY, Argument

_START_MS: Final = 1_800_000_000_000
KEYRING: Final = Keyring(secrets=(b"a secret for races, 32 bytes or more",))
_CLOCK: Final = KeyNames(KEYRING, PREFIX).clock.encode()
_SCRIPTS: Final = {name: script for name, script in scripts.load().items() if name.startswith("cache/")}
_NEED_MEMORY: Final = {
    name for name, script in _SCRIPTS.items() if not script.reads and "allow-oom" not in script.text.partition("\n")[0]
}
TEXTS: Final = {name: script.plain for name, script in _SCRIPTS.items()}
"""The scripts of the cache, as servers get them."""


class Tally(Struct, kw_only=True):
    """The counts of a run."""

    races: int = 0
    reads: int = 0
    hits: int = 0
    bypassed: int = 0
    stale: int = 0
    stale_while_down: int = 0
    faults: int = 0
    forgotten: int = 0
    traces: list[str] = []


class Server:
    """The primary that serves now; `generation` changes with each process that does."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, tally: Tally, texts: Mapping[str, str]) -> None:
        self._loop = loop
        self._rng = rng
        self._tally = tally
        self._texts = texts
        self._skew_ms = 0
        self._is_full = False
        self.generation = 0
        self.keys = Keyspace()
        self.keys.fields_per_scan = 8
        self._snapshot, self._replica = self.keys.copy(), self.keys.copy()

    def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script of the cache now; a full server refuses those that need memory."""
        if self._is_full and script in _NEED_MEMORY:
            raise StoreUnavailable("cache", "rejected", "OOM command not allowed")
        self.keys.now_ms = now_ms = self._now_ms()
        given = [now_ms, *(f"{self.generation:016x}" + "f" * 24 if arg is PRIMARY else arg for arg in args)]
        words = [part if isinstance(part, bytes) else str(part).encode() for part in given]
        reply = run_script(self._texts[script].encode(), [key.encode() for key in keys], words, self.keys.run)
        deleted = (field for name, *rest in self.keys.effects if name == b"HDEL" for field in rest[1:])
        self._tally.forgotten += sum(field.startswith(b"t:") for field in deleted)
        self.keys.effects.clear()
        return reply

    def command(self, name: bytes, *words: bytes) -> Any:
        """Run a plain command now."""
        self.keys.now_ms = self._now_ms()
        return self.keys.run(name, *words)

    def happens(self) -> None:
        """Do something to the server."""
        match self._rng.choice(
            ("save", "save", "sync", "sync", "restart", "fail over", "flush", "lose", "step", "fill up")
        ):
            case "save":
                self._snapshot = self.keys.copy()
            case "sync":
                self._replica = self.keys.copy()
            case "restart":
                self._serve(self._snapshot.copy())
            case "fail over":
                self._serve(self._replica.copy())
            case "flush":
                self.keys.values.clear()
                self.keys.ends_ms.clear()
            case "lose":
                self.keys.remove(_CLOCK)
            case "fill up":
                self._is_full = not self._is_full
            case _:
                self._skew_ms += self._rng.choice((-40_000, -3_000, 3_000, 40_000, 700_000))

    def _serve(self, keys: Keyspace) -> None:
        keys.fields_per_scan = 8
        self.keys = keys
        self.generation += 1

    def _now_ms(self) -> int:
        return _START_MS + self._skew_ms + int(self._loop.time() * 1000)


class Link:
    """The store of one process: calls and replies are late, and end with the server that they were sent to.

    A call may arrive after its caller gave up.
    """

    def __init__(self, server: Server, loop: VirtualLoop, rng: random.Random) -> None:
        self._server = server
        self._loop = loop
        self._rng = rng

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script; a copy of a call that may be repeated arrives late now and then."""
        copied = _SCRIPTS[script].idempotent and self._rng.random() < 0.2
        return await self.travel(lambda: self._server.run(script, keys, args), copied=copied)

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script; nothing is durable."""
        return await self.run(script, keys, args), False

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Return every key."""
        del cursor, match, count
        return 0, await self.travel(lambda: [key.decode() for key in self._server.keys.values])

    async def info(self, section: str) -> dict[str, str]:
        """Return nothing."""
        del section
        return {}

    async def travel(self, call: Callable[[], Any], *, copied: bool = False) -> Any:
        """Make a call arrive, and its reply return; raise StoreUnavailable if one of them is lost."""
        sent_to = self._server.generation
        await asyncio.sleep(delay_s(self._rng))
        if self._server.generation != sent_to:
            raise StoreUnavailable("cache", "ambiguous", "the connection was cut")
        if self._rng.random() < 0.02:
            self._loop.call_later(delay_s(self._rng) * 20, self._arrive_late, sent_to, call)
            raise StoreUnavailable("cache", "ambiguous", "the caller gave up")
        reply = call()
        if copied:
            self._loop.call_later(delay_s(self._rng) * 20, self._arrive_late, sent_to, call)
        await asyncio.sleep(delay_s(self._rng))
        if self._server.generation != sent_to or self._rng.random() < 0.01:
            raise StoreUnavailable("cache", "ambiguous", "the reply was lost")
        return reply

    def _arrive_late(self, sent_to: int, call: Callable[[], Any]) -> None:
        if self._server.generation == sent_to:
            call()


def delay_s(rng: random.Random) -> float:
    """Return how long something is on its way: mostly about a millisecond, rarely much longer."""
    return rng.choice((0, 0.001, 0.001, 0.002, 0.005) if rng.random() < 0.95 else (0.05, 0.6))
