"""The rounds of a resolver: each confirms or replaces the primary; they run one at a time, when due or requested.

Certainty is two counters. Every hint that the primary may be another one adds a doubt. A round clears the doubts that
existed when it began, not those that came while it ran. A caller waits for the doubts that existed when it called, so
that new ones never keep it waiting.

| state        | doubts | `locate`                                | left by                                    |
|--------------|--------|-----------------------------------------|--------------------------------------------|
| unconfirmed  | some   | waits for the next round                | `adopt`, `fail(permanent)`                 |
| confirmed    | none   | returns the address                     | `doubt`, `fail`                            |
| failed       | some   | requests a round, raises `NoPrimary`    | `adopt`, `fail` that is not permanent      |
| closed       | some   | raises `NoPrimary`                      |                                            |
| broken       | some   | raises the defect that ended the rounds |                                            |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

from tollhouse.logs import Log
from tollhouse.stores.discovery.locator import NoPrimary, OnPrimaryEvent
from tollhouse.stores.discovery.primary_history import AdoptionReason, PrimaryEvent, PrimaryHistory
from tollhouse.stores.discovery.quorum import Vote
from tollhouse.stores.discovery.role_probe import VerifiedPrimary
from tollhouse.stores.discovery.timing import ResolverTiming, RoundSchedule
from tollhouse.stores.urls import TcpAddress, UnixAddress, format_host

_log = Log("tollhouse.stores")

Round = Callable[[int], Awaitable[bool]]
"""Asks the servers, and calls `adopt` or `fail`; takes the doubts that it can clear, returns True if all agree."""


class Rounds:
    """Runs the rounds of one resolver, and tells callers and subscribers. Starts with the first `locate`."""

    def __init__(
        self,
        service: str,
        run_round: Round,
        history: PrimaryHistory,
        timing: ResolverTiming,
        clock: Callable[[], float],
        jitter: Callable[[float, float], float],
    ) -> None:
        self.tasks = asyncio.TaskGroup()
        self.closed = False
        self.doubts = 1
        self._cleared = 0
        self._failed = False
        self._refused = False
        self._reason = "no server was asked yet"
        self._service = service
        self._run_round = run_round
        self._history = history
        self._timing = timing
        self._clock = clock
        self._schedule = RoundSchedule(timing, clock, jitter)
        self._subscribers: tuple[OnPrimaryEvent, ...] = ()
        self._running: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def reason(self) -> str:
        """Why `locate` does not return at once; empty while it does."""
        return "" if self._certain else self._reason

    @property
    def refused(self) -> bool:
        """Whether there is a reason that only a change of the setup mends."""
        return self._refused and not self._certain

    @property
    def _certain(self) -> bool:
        return self._cleared == self.doubts

    async def locate(self) -> TcpAddress:
        """Return the address of the primary, which its server confirmed after the last doubt.

        Waits while a failover is under way; the caller bounds the time. Raises NoPrimary at once if the last round
        failed and waiting is of no use, and after `aclose`.
        """
        if self._running is None and not self.closed:
            self._running = asyncio.create_task(
                self._run(), name=f"tollhouse-resolver-{self._service}", context=Context()
            )
        doubts = self.doubts
        while self._cleared < doubts or self._history.current is None:
            if self.closed:
                raise NoPrimary("the resolver was closed")
            if self._running is not None and self._running.done():
                await self._running
            if self._failed:
                self._schedule.request_round("wanted")
                raise NoPrimary(self._reason)
            await self._changed.wait()
        return self._history.current.address

    def subscribe(self, on_event: OnPrimaryEvent) -> None:
        """Call `on_event` with every event; after a new generation, connections of older ones are to be closed."""
        self._subscribers += (on_event,)

    def publish(self, event: PrimaryEvent) -> None:
        """Send an event to all subscribers."""
        for on_event in self._subscribers:
            on_event(event)

    def suspect(self, address: TcpAddress | UnixAddress, why: str) -> bool:
        """Add a doubt if `address` is the present primary; return whether it is."""
        present = self._history.current
        if present is None or address != present.address:
            return False
        self.doubt(why)
        return True

    def doubt(self, why: str) -> None:
        """Make the primary uncertain, and request a round."""
        if self._certain:
            self._reason = f"the primary of {self._service!r} is in doubt: {why}"
        self.doubts += 1
        self.request(why)

    def request(self, why: str) -> None:
        """Request a round; the primary stays as certain as it is."""
        self._schedule.request_round(why)

    def adopt(self, found: VerifiedPrimary, why: AdoptionReason, votes: Sequence[Vote], doubts: int) -> bool:
        """Take a verified primary, which clears the first `doubts` doubts; return True if it is a new one."""
        self._cleared, self._failed, self._refused = doubts, False, False
        generation = self._history.adopt(found, why, votes, self._clock())
        if generation is not None:
            self._schedule.reset()
            fields = {"service": self._service, "generation": generation.number, "address": format_host(found.host)}
            level = logging.INFO if generation.number == 1 else logging.WARNING
            _log.log(level, "primary adopted", extra={**fields, "why": generation.why, "epoch": generation.epoch})
            self.publish(generation)
        self._wake_callers()
        return generation is not None

    def fail(self, reason: str, *, permanent: bool, refused: bool) -> None:
        """End a round without a primary.

        It is `permanent` if callers are not to wait for the next one, `refused` if the setup has to change first.
        """
        if self._certain:
            self.doubt("unconfirmed")
        if reason != self._reason:
            _log.warning("no primary confirmed", extra={"service": self._service, "reason": reason})
        self._reason, self._failed, self._refused = reason, permanent, refused
        self._wake_callers()

    async def aclose(self) -> None:
        """End the rounds and every task of the group; later calls of `locate` raise NoPrimary."""
        self.closed = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        """Run rounds until cancelled; own every task of the resolver."""
        try:
            async with self.tasks:
                while True:
                    agreed = await self._run_round(self.doubts)
                    calm = agreed and self._certain
                    await self._schedule.wait(self._timing.interval_s if calm else self._timing.pause_max_s)
        finally:
            self.doubts += 1  # without rounds nothing is certain
            self._wake_callers()

    def _wake_callers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
