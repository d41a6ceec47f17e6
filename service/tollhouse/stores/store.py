"""A store: runs scripts on one logical database, and says honestly what a failure may have done.

A call that was not sent, or that the server refused, is tried once more inside its deadline. A call
that was sent and not answered is tried again only if its script is idempotent: a second run would
otherwise charge or count twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from tollhouse import keys as key_names
from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import Outcome, ScriptFailed, StoreError, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY, Argument, Placeholder, Script, Scripts
from tollhouse.stores.discovery.locator import Locator
from tollhouse.stores.discovery.sentinel_resolver import ServiceHealth
from tollhouse.stores.durability import Confirmations, Wanted
from tollhouse.stores.reconnecting import Link, Links, Unreachable
from tollhouse.stores.subscriber import Listener
from tollhouse.stores.transport.connection import Lane, encode
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.transport.errors import CALL_FAILED, LaneFull, LaneLost, ServerError, verdict
from tollhouse.stores.transport.handshake import Server, read_info
from tollhouse.stores.urls import StoreUrl

DEADLINE_S: Final = 1.0
"""How long a call may take, waiting for a connection included."""
BULK_BYTES: Final = 16 * 1024
"""A call with a value above this goes over a lane of its own: behind it, small calls would wait for the socket."""
_MARGIN_S: Final = 0.02
"""Taken off the deadline, so that callers have their answer before it and not with it."""

_log = logging.getLogger("tollhouse.stores")

Run = Callable[[str, Sequence[str], Sequence[Argument]], Awaitable[list[Any]]]
"""Runs a script on one certain connection."""


class Store:
    """One logical database on one server, or on whichever server is the primary."""

    def __init__(
        self,
        name: str,
        url: StoreUrl,
        finder: Locator,
        scripts: Scripts,
        metrics: Metrics,
        *,
        dialer: Dialer | None = None,
        clock: ServerClock = server_time,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.name = name
        self.url = url
        self._finder = finder
        self._scripts = scripts
        self._metrics = metrics
        self._clock = clock
        self._deadline_s = max(deadline_s - _MARGIN_S, _MARGIN_S)
        self._apply: Callable[[Run], Awaitable[None]] | None = None
        dialer = Dialer() if dialer is None else dialer
        self._common = common = Links(url=url, finder=finder, dialer=dialer, scripts=tuple(scripts.values()))
        self._fast = Link(common, name=f"{name}-fast", prepare=self._prepare, on_breaker_change=self._on_breaker_change)
        self._bulk = Link(common, name=f"{name}-bulk", prepare=self._prepare)
        self._durable = Link(common, name=f"{name}-durable", prepare=self._prepare)
        self._links = (self._fast, self._bulk, self._durable)
        self._confirmations: Confirmations | None = None
        self._up: bool | None = None
        self._listener: Listener | None = None

    @property
    def server(self) -> Server | None:
        """Tell what the last handshake learned; None before the first."""
        return self._fast.server

    @property
    def connections(self) -> int:
        """Count the connections that were made: one more for every reconnect."""
        return sum(link.connections for link in self._links)

    @property
    def in_flight(self) -> int:
        """Return the number of calls without a reply, those of cancelled callers included."""
        return sum(link.in_flight for link in self._links)

    def watch(self) -> ServiceHealth | None:
        """Describe the Sentinel service behind this store; None where there is none."""
        return self._finder.health()

    def on_primary(self, apply: Callable[[Run], Awaitable[None]]) -> None:
        """Have `apply` called on each connection to another primary than before, before any other call there.

        It gets a function that runs scripts on that connection. When it raises, the connection is not used.
        """
        self._apply = apply

    def listen(
        self,
        channel: str,
        heard: Callable[[bytes], None],
        missed: Callable[[], None],
        begun: Callable[[], None] | None = None,
    ) -> None:
        """Have `heard` called with what is published on a channel, from the first script call on.

        Messages are lost while the connection is: `begun` is called each time that it was made, `missed` each time that
        it was lost. One channel per store.
        """
        assert self._listener is None, "a store listens to one channel"
        self._listener = Listener(
            self._common,
            name=self.name,
            channel=channel,
            heard=heard,
            missed=missed,
            begun=begun,
            prepare=self._prepare,
        )

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and give its reply; `now_ms` goes before `args`.

        Raises StoreUnavailable where no reply can be relied on, ScriptFailed where the call itself is wrong.
        """
        began_s = time.perf_counter()
        link = self._bulk if _is_bulky(args) else self._fast
        reply, _ = await self._run(link, self._scripts[script], keys, args, self._deadline())
        self._metrics.script(self.name, script, time.perf_counter() - began_s)
        return reply

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script, and tell whether what it wrote, or relies on, outlives the server.

        Every replica that Sentinel could promote has to confirm it; when none is known, the server's own file. False
        when there is neither.
        """
        deadline_s = self._deadline()
        await self._ready(self._fast, deadline_s)
        wanted = self._wanted()
        if not wanted.possible:
            return await self.run(script, keys, args), False
        reply, lane = await self._run(self._durable, self._scripts[script], keys, args, deadline_s)
        if self._confirmations is None or self._confirmations.lane is not lane:
            self._confirmations = Confirmations(lane, key_names.marker(self.name))
        return reply, await self._confirmations.confirm(wanted, deadline_s)

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
            return await lane.send(encode(*parts), deadline_s)
        except CALL_FAILED as error:
            self._fast.doubt(lane, error)
            raise self._failure(error, str(parts[0])) from error

    async def aclose(self) -> None:
        """End the connections; later calls raise StoreUnavailable."""
        if self._listener is not None:
            await self._listener.aclose()
        if self._confirmations is not None:
            await self._confirmations.aclose()
        for link in self._links:
            await link.aclose()

    def _wanted(self) -> Wanted:
        health = self._finder.health()
        if health is not None:
            # Without a replica that could be promoted nobody confirms, and the answer is an honest False.
            return Wanted(replicas=max(health.promotable, 1), file=False)
        return Wanted(replicas=0, file=self._fast.server is not None and self._fast.server.appends)

    async def _prepare(self, lane: Lane, server: Server) -> None:
        if self._apply is None:
            return
        deadline_s = self._deadline()

        async def run(script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
            return _listed(await self._call(lane, server, self._scripts[script], keys, args, deadline_s))

        await self._apply(run)

    async def _run(
        self, link: Link, script: Script, keys: Sequence[str], args: Sequence[Argument], deadline_s: float
    ) -> tuple[list[Any], Lane]:
        if self._listener is not None:
            self._listener.start()
        last_attempt = False
        while True:
            lane = (link.open_lane if self._up else None) or await self._ready(link, deadline_s)
            assert link.server is not None
            try:
                return _listed(await self._call(lane, link.server, script, keys, args, deadline_s)), lane
            except CALL_FAILED as error:
                link.doubt(lane, error)
                if last_attempt or not _worth_another_try(error, script):
                    raise self._failure(error, script.name) from error
                last_attempt = True

    async def _call(
        self,
        lane: Lane,
        server: Server,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        deadline_s: float,
    ) -> Any:
        rest = (len(keys), *keys, self._clock(), *_filled_in(args, server))
        try:
            return await lane.send(encode("EVALSHA", script.sha, *rest), deadline_s)
        except ServerError as error:
            if verdict(error) != "load-script":
                raise
        return await lane.send(encode("EVAL", script.text, *rest), deadline_s)

    async def _ready(self, link: Link, deadline_s: float) -> Lane:
        try:
            lane = link.open_lane or await link.lane(deadline_s)
        except Unreachable as error:
            raise self._unavailable("not-sent", str(error)) from error
        self._say(up=True)
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
        self._say(up=False)
        return StoreUnavailable(self.name, outcome, reason)

    def _on_breaker_change(self) -> None:
        """Report that the breaker of the fast link opened or closed; when it closed, let the other links try again."""
        breaker = self._fast.breaker
        self._metrics.breaker(self.name, open=breaker.is_open)
        if breaker.is_open:
            fields = {"store": self.name, "reason": breaker.reason}
            _log.warning("store does not answer, calls fail at once", extra=fields)
        else:
            _log.info("store answers again", extra={"store": self.name})
            self._bulk.breaker.reset()
            self._durable.breaker.reset()

    def _say(self, *, up: bool) -> None:
        """Tell the metrics when it changes: every call comes by here."""
        if up is not self._up:
            self._up = up
            self._metrics.store_up(self.name, up)


def _filled_in(args: Sequence[Argument], server: Server) -> Sequence[str | bytes | int]:
    if PRIMARY in args:
        return [server.primary if isinstance(argument, Placeholder) else argument for argument in args]
    return cast("Sequence[str | bytes | int]", args)  # most calls have no placeholder: nothing is copied


def _is_bulky(args: Sequence[Argument]) -> bool:
    return bytes in map(type, args) and any(isinstance(one, bytes) and len(one) > BULK_BYTES for one in args)


def _listed(reply: Any) -> list[Any]:
    return cast("list[Any]", reply) if isinstance(reply, list) else [reply]


def _worth_another_try(error: Exception, script: Script) -> bool:
    """Say yes where the server did not run the call, or may have and running it twice is the same."""
    if isinstance(error, ServerError):
        return verdict(error) == "reconnect"
    return isinstance(error, LaneLost) and script.idempotent
