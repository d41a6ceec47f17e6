"""The resolver: knows which server is the primary of a Sentinel service, and says so when that changes.

How it works. It is connected to every Sentinel and hears what they announce. In rounds, one at a time, it
asks all of them at once, ranks the addresses that they name (`election`), and takes the first whose server
says that it is a primary (`role`). Rounds come every few seconds while all is well, and at once, then ever
more slowly, when there is a doubt: a Sentinel announced something, or a caller's call failed. Doubts only
suggest; nothing but a server's own word makes it the primary.

When Sentinel tells a replica to take over, the resolver does not wait until Sentinel has noticed that it did,
which takes about a second: it looks at that replica itself, and changes to it as soon as it is a primary,
though the old one may still answer. A failover that is given up after that is one more change, back.

Every change is a new generation. Numbers only grow, and whoever holds connections is told: what arrives over
a connection of an older generation is not to be believed any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.addresses import format_host
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import (
    AdoptionReason,
    FailoverPause,
    Generation,
    PrimaryEvent,
    PrimaryHistory,
    adoption_reason,
)
from tollhouse.stores.discovery.quorum import Vote
from tollhouse.stores.discovery.role_probe import RoleProbe, Unverified, VerifiedPrimary
from tollhouse.stores.discovery.sentinel_events import FailoverAborted, Promotion, SentinelEvent
from tollhouse.stores.discovery.sentinel_pool import Poll, SentinelPool
from tollhouse.stores.discovery.timing import ResolverTiming, RoundSchedule
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import Host, SentinelService, TcpAddress

_log = logging.getLogger("tollhouse.stores")

Chase = Literal["on", "off"]
"""Whether to change to a replica as soon as it is promoted, or only when the Sentinels name it."""
_REASONS_MAX: Final = 4


class NoPrimary(ConnectionError):
    """Nobody can say who the primary is; the text names what is wrong and what mends it."""


class ServiceHealth(Struct, frozen=True, kw_only=True):
    """What is known of a service and its Sentinels; `reason` is empty while the primary is certain."""

    service: str
    sentinels_known: int
    sentinels_reachable: int
    quorum: int
    promotable: int
    generation: Generation | None
    reason: str
    silent: tuple[str, ...]


class SentinelResolver:
    """Finds and follows the primary of one Sentinel service; one per service and process. Starts when first asked."""

    def __init__(
        self,
        target: SentinelService,
        login: Login,
        dialer: Dialer,
        *,
        chase: Chase = "on",
        timing: ResolverTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._service = target.service
        self._chase: Chase = chase
        self._timing = ResolverTiming() if timing is None else timing
        self._clock = clock
        self._prober = RoleProbe(target, login, dialer, self._timing)
        self._generations = PrimaryHistory(target, self._timing.quarantine_s)
        self._rhythm = RoundSchedule(self._timing, clock, jitter)
        self._sentinels = SentinelPool(
            target, dialer, self._timing, on_event=self._announced, on_connection_change=self._stirred, jitter=jitter
        )
        self._subscribers: tuple[Callable[[PrimaryEvent], None], ...] = ()
        self._tasks = asyncio.TaskGroup()
        self._running: asyncio.Task[None] | None = None
        self._chasing: asyncio.Task[None] | None = None
        self._ended = False
        self._doubts, self._cleared = 1, 0
        self._hopeless = False
        self._braced: Generation | None = None
        self._reason = "no Sentinel was asked yet"
        self._hint: Host | None = None
        self._moved = asyncio.Event()

    @property
    def generation(self) -> Generation | None:
        """Give the present generation; None until a primary was found."""
        return self._generations.current

    @property
    def reason(self) -> str:
        """Say why `locate` does not answer at once; empty while it does."""
        return "" if self._settled else self._reason

    async def locate(self) -> TcpAddress:
        """Give the address of the primary, as its server itself confirmed after the last doubt.

        Waits while a failover is under way: callers bound the time. Raises NoPrimary at once where nobody can tell.
        """
        self._start()
        doubts = self._doubts
        while self._cleared < doubts or self._generations.current is None:
            if self._ended:
                raise NoPrimary("the resolver was closed")
            if self._running is not None and self._running.done():
                await self._running
            if self._hopeless:
                raise NoPrimary(self._reason)
            await self._moved.wait()
        return self._generations.current.address

    def subscribe(self, changed: Callable[[PrimaryEvent], None]) -> None:
        """Have `changed` called with all news; at a new generation, connections of the older ones are to be closed."""
        self._subscribers += (changed,)

    def suspect(self, address: TcpAddress, signal: FailoverHint) -> None:
        """Suggest that `address` is the primary no more; of no effect unless it is the present one."""
        if self._generations.current is not None and address == self._generations.current.address:
            self._hint = signal.candidate or self._hint
            self._doubt(signal.why)

    def promotable(self) -> int:
        """Count the replicas that Sentinel could promote: not down, and of a priority above 0."""
        return len(self._sentinels.last_poll.promotable - self._generations.aliases)

    def health(self) -> ServiceHealth:
        """Describe the service, its Sentinels and the present generation."""
        poll = self._sentinels.last_poll
        return ServiceHealth(
            service=self._service,
            sentinels_known=poll.known,
            sentinels_reachable=self._sentinels.reachable,
            quorum=poll.quorum,
            promotable=self.promotable(),
            generation=self._generations.current,
            reason=self.reason,
            silent=tuple(one.reason for one in poll.unavailable),
        )

    async def aclose(self) -> None:
        """End all connections and tasks; later calls of `locate` raise NoPrimary."""
        self._ended = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    @property
    def _settled(self) -> bool:
        return self._cleared == self._doubts

    def _start(self) -> None:
        if self._running is None and not self._ended:
            name = f"tollhouse-resolver-{self._service}"
            self._running = asyncio.get_running_loop().create_task(self._run(), name=name)

    async def _run(self) -> None:
        """Own every task of the resolver, and do the rounds."""
        try:
            async with self._tasks:
                self._sentinels.start(self._tasks)
                while True:
                    calm = await self._round()
                    await self._rhythm.wait(self._timing.interval_s if calm else self._timing.pause_max_s)
        finally:
            self._doubts += 1  # nobody looks any more, so nothing is certain
            self._wake_callers()

    async def _round(self) -> bool:
        """Ask the Sentinels, then the servers that they name; tell whether all of them agree."""
        began, doubts = self._generations.current, self._doubts
        hint, self._hint = self._hint, None
        poll = await self._sentinels.poll_all(self._tasks)
        self._generations.confirm(poll.votes)
        ranked = self._generations.candidates(poll.votes, poll.known, hint, self._clock())
        found, refused = await self._first_primary(ranked)
        if self._generations.current is not began:
            return False  # a promotion was seen meanwhile: what this round saw is older
        if found is None:
            if self._settled:
                self._doubt("unconfirmed")
            self._reason = _reason(self._service, refused, poll)
            self._hopeless = not poll.votes or any(one.lasting for one in refused)
        else:
            self._adopt(found, adoption_reason(found, hint), poll.votes, doubts)
        self._wake_callers()
        return found is not None and poll.agreed in self._generations.aliases

    async def _first_primary(self, ranked: Sequence[Host]) -> tuple[VerifiedPrimary | None, list[Unverified]]:
        refused: list[Unverified] = []
        for host in ranked:
            outcome = await self._prober.find_primary(host)
            if isinstance(outcome, VerifiedPrimary):
                return outcome, refused
            refused.append(outcome)
        return None, refused

    def _adopt(self, found: VerifiedPrimary, how: AdoptionReason, votes: Sequence[Vote], doubts: int) -> None:
        """Take a verified primary, which ends the first `doubts` doubts; tell everybody if it is a new one."""
        self._cleared = doubts
        self._hopeless = False
        generation = self._generations.adopt(found, how, votes, self._clock())
        if generation is None:
            return
        self._hint = None
        self._rhythm.reset()
        fields = {"service": self._service, "generation": generation.number, "address": format_host(found.host)}
        level = logging.INFO if generation.number == 1 else logging.WARNING
        _log.log(level, "primary adopted", extra={**fields, "why": generation.why, "epoch": generation.epoch})
        self._tell(generation)

    def _announced(self, announcement: SentinelEvent) -> None:
        if self._ended:
            return
        match announcement:
            case Promotion():
                self._chase_if_wanted(announcement)
                self._brace(announcement)
                self._doubt("promoting")
            case FailoverAborted():
                self._stop_chase()
                self._generations.clear_quarantine()
                self._tell(FailoverPause(wait_s=0))
                self._doubt("aborted")
            case _:
                self._doubt(announcement.channel)

    def _chase_if_wanted(self, promoting: Promotion) -> None:
        """Look at a replica that is to replace the present primary; the latest announcement counts."""
        names = self._generations.aliases
        if self._chase == "on" and promoting.old_primary in names and promoting.new_primary not in names:
            self._stop_chase()
            self._tell(FailoverPause(wait_s=self._timing.failover_pause_s))
            self._chasing = self._tasks.create_task(self._chased(promoting.new_primary))

    def _brace(self, promoting: Promotion) -> None:
        """Hold calls back while Sentinel, which has noticed only now, ends all connections of the new primary."""
        if promoting.new_primary in self._generations.aliases and self._generations.current is not self._braced:
            self._braced = self._generations.current
            self._tell(FailoverPause(wait_s=self._timing.promotion_pause_s))

    def _stop_chase(self) -> None:
        if self._chasing is not None:
            self._chasing.cancel()
            self._chasing = None

    async def _chased(self, host: Host) -> None:
        began, give_up_s = self._generations.current, self._clock() + self._timing.promotion_timeout_s
        found = await self._prober.await_promotion(
            host, lambda: self._generations.current is began and self._clock() < give_up_s
        )
        if found is not None:
            self._adopt(found, "promoted", (), self._doubts)
            self._wake_callers()

    def _tell(self, news: PrimaryEvent) -> None:
        for changed in self._subscribers:
            changed(news)

    def _doubt(self, why: str) -> None:
        if self._settled:
            self._reason = f"the primary of {self._service!r} is in doubt: {why}"
        self._doubts += 1
        self._rhythm.request_round(why)

    def _stirred(self) -> None:
        """Look again: what was announced while a line was down is not announced twice."""
        self._rhythm.request_round("lines")

    def _wake_callers(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _reason(service: str, refused: Sequence[Unverified], poll: Poll) -> str:
    """Say what stands between callers and the primary, the servers' word before the Sentinels'."""
    said = [one.reason for one in (*refused, *poll.unavailable)]
    return f"no primary of {service!r} is known: {'; '.join(said[:_REASONS_MAX]) or 'no Sentinel names one'}"
