"""A server that runs the scripts of sessions at once, and links on which calls are late, lost or come twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from tests.simulation.loop import VirtualLoop
from tests.simulation.race_server import delay_s
from tests.simulation.valkey.keyspace import Keyspace
from tests.simulation.valkey.scripting import run_script
from tollhouse import scripts
from tollhouse.errors import StoreUnavailable
from tollhouse.scripts import Argument

_START_MS: Final = 1_800_000_000_000
_SCRIPTS: Final = {name: script for name, script in scripts.load().items() if name.startswith("sessions/")}
TEXTS: Final = {name: script.plain for name, script in _SCRIPTS.items()}
"""The scripts of sessions, as servers get them."""
_COPIED: Final = frozenset(
    f"sessions/{verb}" for verb in ("touch", "rotate", "renew", "revoke", "revoke_all", "set_disabled")
)
"""Calls of which a copy may arrive long after the answer, within `LATE_S`."""
_LOST: Final = 0.02
_LATE: Final = 20
LATE_S: Final = 15


class SessionServer:
    """The one primary; it never fails, and its time is that of the loop."""

    def __init__(self, loop: VirtualLoop, texts: Mapping[str, str] = TEXTS) -> None:
        self._loop = loop
        self._texts = texts
        self.keys = Keyspace()

    @property
    def now_ms(self) -> int:
        """Return the time of the server's clock."""
        return _START_MS + int(self._loop.time() * 1000)

    def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script now."""
        self.keys.now_ms = now_ms = self.now_ms
        words = [part if isinstance(part, bytes) else str(part).encode() for part in (now_ms, *args)]
        reply = run_script(self._texts[script].encode(), [key.encode() for key in keys], words, self.keys.run)
        self.keys.effects.clear()
        return reply


class SessionLink:
    """The store of one process: a call without an answer is sent again if its script is idempotent, as stores do."""

    def __init__(self, server: SessionServer, loop: VirtualLoop, rng: random.Random) -> None:
        self._server = server
        self._loop = loop
        self._rng = rng

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument], *, waited_ms: int = 0) -> Any:
        """Run a script and return its reply."""
        del waited_ms
        call = partial(self._server.run, script, keys, args)
        while True:
            reply = await self._attempt(call, copied=script in _COPIED)
            if reply is not None:
                return reply
            if not _SCRIPTS[script].idempotent:
                raise StoreUnavailable("sessions", "ambiguous", "the connection was lost")

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Any, bool]:
        """Run a script; nothing is durable."""
        return await self.run(script, keys, args), False

    async def _attempt(self, call: Callable[[], Any], *, copied: bool) -> Any:
        """Send a call; return its reply, None if one of the two was lost."""
        rng = self._rng
        await asyncio.sleep(delay_s(rng))
        if rng.random() < _LOST:
            return None
        reply = call()
        if copied and rng.random() < 0.1:
            self._loop.call_later(delay_s(rng) * _LATE, call)
        await asyncio.sleep(delay_s(rng))
        return None if rng.random() < _LOST else reply
