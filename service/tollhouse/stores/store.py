"""A store: runs scripts on one logical database, and says honestly what a failure may have done.

A call that was not sent, or that the server refused, is tried once more inside its deadline. A call
that was sent and not answered is tried again only if its script is idempotent: a second run would
otherwise charge or count twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, cast

from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import Outcome, ScriptFailed, StoreError, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY, Argument, Script, Scripts
from tollhouse.stores.lane import Lane, encode
from tollhouse.stores.link import Link, Locate, Server, Unreachable, read_info
from tollhouse.stores.outcomes import CALL_FAILED, LaneFull, LaneLost, ServerError, verdict
from tollhouse.stores.urls import StoreUrl

DEADLINE_S: Final = 1.0
"""How long a call may take, waiting for a connection included."""
_DURABLE_MS: Final = 50


class Store:
    """One logical database on one server."""

    def __init__(
        self,
        name: str,
        url: StoreUrl,
        locate: Locate,
        scripts: Scripts,
        metrics: Metrics,
        *,
        clock: ServerClock = server_time,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.name = name
        self.url = url
        self._scripts = scripts
        self._metrics = metrics
        self._clock = clock
        self._deadline_s = deadline_s
        loaded = tuple(scripts.values())
        self._fast = Link(url, locate, loaded, name=f"{name}-fast")
        self._durable = Link(url, locate, loaded, name=f"{name}-durable")

    @property
    def server(self) -> Server | None:
        """Tell what the last handshake learned; None before the first."""
        return self._fast.server

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and give its reply; `now_ms` goes before `args`.

        Raises StoreUnavailable where no reply can be relied on, ScriptFailed where the call itself is wrong.
        """
        began_s = time.perf_counter()
        reply = await self._run(self._fast, self._scripts[script], keys, args, self._deadline())
        self._metrics.script(self.name, script, time.perf_counter() - began_s)
        return reply

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script on the durable lane, and tell whether what it wrote would outlive the server.

        Where the server appends to a file, it must confirm that the file is on disk (WAITAOF).
        Where it has neither a file nor replicas the answer is False: nothing can be promised.
        """
        deadline_s = self._deadline()
        await self._ready(self._fast, deadline_s)
        if self._fast.server is None or not self._fast.server.appends:
            return await self.run(script, keys, args), False
        reply = await self._run(self._durable, self._scripts[script], keys, args, deadline_s)
        try:
            lane = await self._durable.lane(deadline_s)
            confirmed = await lane.send(encode("WAITAOF", 1, 0, _DURABLE_MS), deadline_s)
        except (*CALL_FAILED, Unreachable):
            return reply, False
        return reply, confirmed[0] >= 1

    async def info(self, section: str) -> dict[str, str]:
        """Read a section of INFO."""
        return read_info(await self.command("INFO", section))

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Take one bounded step over the keys that match; the walk is over when the cursor is 0 again."""
        following, found = await self.command("SCAN", cursor, "MATCH", match, "COUNT", count)
        return int(following), [key.decode() for key in found]

    async def ping(self) -> float:
        """Give the time of one round trip, in milliseconds."""
        await self.command("PING")
        began_s = time.perf_counter()
        await self.command("PING")
        return (time.perf_counter() - began_s) * 1000

    async def command(self, *parts: str | bytes | int) -> Any:
        """Send one plain command that reads or that may be sent twice; for administration and health."""
        deadline_s = self._deadline()
        lane = await self._ready(self._fast, deadline_s)
        try:
            reply = await lane.send(encode(*parts), deadline_s)
        except CALL_FAILED as error:
            raise self._failure(error, str(parts[0])) from error
        return reply

    async def aclose(self) -> None:
        """End the connections; later calls raise StoreUnavailable."""
        await self._fast.aclose()
        await self._durable.aclose()

    async def _run(
        self, link: Link, script: Script, keys: Sequence[str], args: Sequence[Argument], deadline_s: float
    ) -> list[Any]:
        for last_attempt in (False, True):
            lane = await self._ready(link, deadline_s)
            try:
                reply = await self._call(link, lane, script, keys, args, deadline_s)
            except CALL_FAILED as error:
                if last_attempt or not _worth_another_try(error, script):
                    raise self._failure(error, script.name) from error
                lane.close()
            else:
                return cast("list[Any]", reply) if isinstance(reply, list) else [reply]
        raise AssertionError("the last attempt returns or raises")

    async def _call(
        self,
        link: Link,
        lane: Lane,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        deadline_s: float,
    ) -> Any:
        primary = "" if link.server is None else link.server.replication_id
        given = [primary if argument is PRIMARY else argument for argument in args]
        rest = (len(keys), *keys, self._clock(), *given)
        try:
            return await lane.send(encode("EVALSHA", script.sha, *rest), deadline_s)
        except ServerError as error:
            if verdict(error) != "load-script":
                raise
        return await lane.send(encode("EVAL", script.text, *rest), deadline_s)

    async def _ready(self, link: Link, deadline_s: float) -> Lane:
        try:
            lane = await link.lane(deadline_s)
        except Unreachable as error:
            raise self._unavailable("not-sent", str(error)) from error
        self._metrics.store_up(self.name, up=True)
        return lane

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._deadline_s

    def _failure(self, error: Exception, what: str) -> StoreError:
        """Name a failure for callers; whatever leaves the state of the call open marks the store as down."""
        if isinstance(error, ServerError):
            if verdict(error) == "defect":
                return ScriptFailed(f"store {self.name!r}: {what}: {error}")
            return StoreUnavailable(self.name, "rejected", str(error))
        return self._unavailable("not-sent" if isinstance(error, LaneFull) else "ambiguous", str(error))

    def _unavailable(self, outcome: Outcome, reason: str) -> StoreUnavailable:
        self._metrics.store_up(self.name, up=False)
        return StoreUnavailable(self.name, outcome, reason)


def _worth_another_try(error: Exception, script: Script) -> bool:
    """Say yes where the server did not run the call, or may have and running it twice is the same."""
    if isinstance(error, ServerError):
        return verdict(error) == "reconnect"
    return isinstance(error, LaneLost) and script.idempotent
