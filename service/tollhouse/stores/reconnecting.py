"""A link: keeps one lane to one store alive, and tells callers at once when it cannot.

It connects when a call arrives. While it reconnects, callers wait for at most `PARKED_S`, never past their deadline.
A wait in vain opens its circuit breaker: from then on calls fail at once, without being sent, until the server answers
a probe or another primary is named.

When the finder names another primary, the lane to the old one is left: it may still refuse what it has not done,
which is then sent to the new one; whatever else it answers is not believed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.scripts import Script
from tollhouse.stores.circuit_breaker import CircuitBreaker
from tollhouse.stores.discovery.failover_hints import FailoverHint, failover_hint
from tollhouse.stores.discovery.locator import Address, Locator
from tollhouse.stores.discovery.primary_history import FailoverPause, PrimaryEvent
from tollhouse.stores.transport.connection import Lane, encode
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.transport.errors import CALL_FAILED, DeadlinePassed, LaneLost, ServerError, verdict
from tollhouse.stores.transport.handshake import Server, shake_hands
from tollhouse.stores.urls import StoreUrl

CONNECT_S = 1.0
"""How long one attempt to connect, TLS and handshake included, may take."""
PARKED_S = 0.5
"""How long a call waits for a connection at most."""
HELD_S = 0.8
"""How long a call waits at most while Sentinel replaces the primary; waiting is all that would help it."""
_LEAVE_S = 0.3
"""How long a primary that steps down may take to refuse what it has not done."""
_PAUSE_MIN_S = 0.02
_PAUSE_MAX_S = 1.0

Prepare = Callable[[Lane, Server], Awaitable[None]]
"""What is to be done on a new connection before any call."""


class Unreachable(Exception):
    """There is no connection, and the call was not sent."""


class Links(Struct, frozen=True, kw_only=True):
    """What all links of one store have in common."""

    url: StoreUrl
    finder: Locator
    dialer: Dialer
    scripts: Sequence[Script]


class Link:
    """One lane and whatever it takes to have it again after it was lost."""

    def __init__(
        self,
        common: Links,
        *,
        name: str,
        prepare: Prepare | None = None,
        on_breaker_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.server: Server | None = None
        self.connections = 0
        self._common = common
        self._name = name
        self._prepare = prepare
        self._lane: Lane | None = None
        self._former: tuple[Lane, ...] = ()
        self._address: Address | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._bound: asyncio.Timeout | None = None
        self._dialed: Address | None = None
        self._reason = ""
        failures = (Unreachable, *CALL_FAILED)
        self.breaker = CircuitBreaker(self._probe, failures, on_change=on_breaker_change, name=name)
        self._pause_s = _PAUSE_MIN_S
        self._held: asyncio.Event | None = None
        self._ended = False
        common.finder.subscribe(self._moved)

    @property
    def in_flight(self) -> int:
        """Count the calls that wait for a reply, those nobody waits for any more included."""
        return sum(lane.in_flight for lane in self._open_lanes())

    @property
    def open_lane(self) -> Lane | None:
        """Return the lane when a call can be sent on it at once; None when it has to wait, or cannot be sent."""
        if self._held is None and self._lane is not None and self._lane.alive and not self.breaker.is_open:
            return self._lane
        return None

    async def lane(self, deadline_s: float) -> Lane:
        """Return a lane that can send, or raise Unreachable: at once while the breaker is open."""
        if self._ended:
            raise Unreachable("the store was closed")
        if self.breaker.is_open:
            self.breaker.request_probe()
            raise Unreachable(self._reason_or(self.breaker.reason))
        try:
            return await self._connected(deadline_s)
        except Unreachable as error:
            self.breaker.trip(str(error))
            raise

    async def _connected(self, deadline_s: float) -> Lane:
        if self._held is not None:
            await self._held_back(self._held, deadline_s)
        if self._lane is not None and self._lane.alive:
            return self._lane
        loop = asyncio.get_running_loop()
        if self._connecting is None:
            self._connecting = self._begin_to_connect()
        waited = min(deadline_s, loop.time() + PARKED_S) - loop.time()
        await asyncio.wait({self._connecting}, timeout=max(waited, 0))
        if self._lane is not None and self._lane.alive:
            return self._lane
        raise Unreachable(self._reason_or("no connection in time"))

    def _reason_or(self, otherwise: str) -> str:
        """Say why there is no connection, as far as the finder or the last attempt knows."""
        health = self._common.finder.health()
        return ("" if health is None else health.reason) or self._reason or otherwise

    async def _probe(self) -> None:
        """Return when the server replies to a PING, be it with an error; connect first if need be."""
        deadline_s = asyncio.get_running_loop().time() + CONNECT_S
        lane = await self._connected(deadline_s)
        with suppress(ServerError):
            await lane.send(encode("PING"), deadline_s)

    def doubt(self, lane: Lane, error: Exception) -> None:
        """Take an error as a hint that the server is the wrong one; where it says so itself, leave it.

        It is not cut off: what else it refuses can then be sent to the right one too.
        """
        found = failover_hint(error)
        if found is not None and self._address is not None and lane is self._lane:
            self._common.finder.suspect(self._address, found)
        if isinstance(error, DeadlinePassed) and lane is self._lane:
            self.breaker.trip(str(error))
        if isinstance(error, ServerError) and verdict(error) == "reconnect":
            lane.leave(_LEAVE_S)

    async def aclose(self) -> None:
        """End the connection and the attempt to make one."""
        self._ended = True
        await self.breaker.aclose()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        for lane in self._open_lanes():
            await lane.aclose()
        self._lane, self._former = None, ()

    def _begin_to_connect(self) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._connect(), name=f"tollhouse-connect-{self._name}")

    async def _connect(self) -> None:
        """Try until it works, or until the next attempt would begin more than `PARKED_S` after the first."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + PARKED_S
        try:
            while not await self._attempted():
                self._dialed = None
                self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)
                pause_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, no secret
                if loop.time() + pause_s >= give_up_s:
                    return
                await asyncio.sleep(pause_s)
            self._pause_s, self._reason = _PAUSE_MIN_S, ""
        finally:
            self._connecting = self._dialed = None

    async def _attempted(self) -> bool:
        """Connect once; remember why where that fails."""
        place = self._common.url.redacted()
        try:
            async with asyncio.timeout(CONNECT_S) as self._bound:
                await self._attempt()
        except ServerError as error:
            self._reason = f"{place} refused the handshake: {error}"
        except (OSError, TimeoutError, *CALL_FAILED) as error:
            said = f"no answer within {CONNECT_S:g} s" if isinstance(error, TimeoutError) else str(error)
            self._reason = f"cannot connect to {place}: {said or type(error).__name__}"
        except ConfigurationError as error:
            self._reason = str(error)
        else:
            return True
        return False

    def _give_up_dialing(self, *, but_not: Address) -> None:
        """End an attempt at another server: one that hangs would keep callers from the new primary."""
        if self._bound is not None and not self._bound.expired() and self._dialed not in (None, but_not):
            self._bound.reschedule(0)

    async def _attempt(self) -> None:
        finder = self._common.finder
        address = self._dialed = await finder.locate()
        try:
            lane, _ = await self._common.dialer.dial(address, on_lost=lambda: self._lost(address))
        except OSError as error:
            self._suspect(address, error)
            raise
        try:
            deadline_s = asyncio.get_running_loop().time() + CONNECT_S
            common = self._common
            server = await shake_hands(lane, self._name, finder.login(), common.url.db, common.scripts, deadline_s)
            if self._prepare is not None and (self.server is None or server.primary != self.server.primary):
                await self._prepare(lane, server)
            await self._still_at(address)
        except CALL_FAILED as error:
            self._suspect(address, error)
            await lane.aclose()
            raise
        except BaseException:
            await lane.aclose()
            raise
        self._former = self._open_lanes()
        self.server, self._lane, self._address = server, lane, address
        self.connections += 1

    def _open_lanes(self) -> tuple[Lane, ...]:
        """Give the present lane and those that were left, as far as they have not ended."""
        return tuple(lane for lane in (*self._former, self._lane) if lane is not None and not lane.ended)

    async def _still_at(self, address: Address) -> None:
        """Make sure that nobody took over while the handshake was under way."""
        if await self._common.finder.locate() != address:
            raise LaneLost("the primary changed while connecting")

    def _suspect(self, address: Address, error: Exception) -> None:
        found = failover_hint(error)
        if found is not None:
            self._common.finder.suspect(address, found)

    def _lost(self, address: Address) -> None:
        if not self._ended:
            self._common.finder.suspect(address, FailoverHint(why="eof"))

    async def _held_back(self, held: asyncio.Event, deadline_s: float) -> None:
        """Keep a call from a primary that is being replaced: it would run there and be lost, or wait and be cut off."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline_s, loop.time() + HELD_S)):
                await held.wait()
        except TimeoutError:
            raise Unreachable("the primary is being replaced") from None

    def _hold(self, wait_s: float) -> None:
        if not wait_s:
            self._release()
        elif self._held is None:
            self._held = held = asyncio.Event()
            asyncio.get_running_loop().call_later(wait_s, self._let_go, held)

    def _release(self) -> None:
        if self._held is not None:
            self._let_go(self._held)

    def _let_go(self, held: asyncio.Event) -> None:
        held.set()
        if self._held is held:
            self._held = None

    def _moved(self, news: PrimaryEvent) -> None:
        """Leave the old primary, and let callers in at once; before that, hold them back for a moment."""
        if isinstance(news, FailoverPause):
            self._hold(news.wait_s)
            return
        self._release()
        self.breaker.reset()
        self._pause_s = _PAUSE_MIN_S
        self._give_up_dialing(but_not=news.address)
        if self._lane is None or self._address == news.address:
            return
        self._lane.leave(_LEAVE_S)
        if self._connecting is None and not self._ended:
            self._connecting = self._begin_to_connect()
