"""Leases of `concurrency` policies: a permit is held until it is released, or until its holder stops renewing it.

`Leases` works on what `Asked` says of a subject, with a cost of 1; `outage` decides while the store does not answer.
That the policy has leases to give, and its lists, are looked at here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import InvalidInput, StoreError, StoreUnavailable
from tollhouse.limits.calls.decider import decide_by_access_list
from tollhouse.limits.calls.waiting import Sleep, attempt_within
from tollhouse.limits.decision import Decision
from tollhouse.limits.lease import Lease
from tollhouse.limits.outage.fallback import LOCAL, Fallback
from tollhouse.limits.outage.local_leases import LocalLeases
from tollhouse.limits.policy.policy import Limit
from tollhouse.limits.wire.reply import FIRST_DECISION, count_discarded, decision_at, outcome
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics
from tollhouse.scripts import ScriptRunner

RELEASE_S: Final = 2.0
"""How long the end of a hold waits for the store; a permit that could not be released comes back by itself."""

_PAUSE_MS_MIN: Final = 20
_PAUSE_MS_MAX: Final = 250
_RENEWALS: Final = 3
"""How often a lease is renewed while it lasts, so that it outlives two renewals that get lost."""
_ID: Final = re.compile(rf"(?:{LOCAL})?[0-9a-f]{{32}}")
_log = logging.getLogger("tollhouse.limits")


class Leases:
    """Gives out permits; a lease lasts for the policy's window, and anew from each renewal.

    A refusal says after how long a permit is free if none is renewed or released before. While the store does not
    answer, `local` gives out this process's share of the permits; their ids are known to this process alone. Every
    call raises InvalidInput where the policy has another algorithm.
    """

    def __init__(
        self,
        store: ScriptRunner,
        metrics: Metrics,
        outage: Fallback,
        *,
        clock: MonotonicClock = monotonic_ms,
        sleep: Sleep = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
        release_s: float = RELEASE_S,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._fallback = outage
        self._local = LocalLeases(clock=clock)
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._release_s = release_s
        self._releasing: set[asyncio.Task[None]] = set()

    async def lease(self, asked: TakeRequest, *, wait_ms: int = 0) -> Lease:
        """Acquire a permit; if none is free, try again for up to `wait_ms`.

        A release is not announced, so a waiting caller polls every 20 to 250 ms, and once more when its time is over.
        """
        _limit(asked)

        async def attempt() -> Lease:
            return await self._attempt(asked)

        lease = await attempt_within(wait_ms, attempt, self._delay_ms, clock=self._clock, sleep=self._sleep)
        self._metrics.decision(asked.compiled.name, outcome(lease.decision))
        return lease

    async def renew(self, asked: TakeRequest, lease_id: str) -> bool:
        """Let a lease last for a window from now; False where it is over or unknown, and it stays so.

        Raises StoreUnavailable where the store did not answer: the lease may have been renewed.
        """
        limit = _limit(asked)
        if not _ID.fullmatch(lease_id):
            return False
        if lease_id.startswith(LOCAL):
            return self._local.renew(limit, asked.state_key, lease_id)
        reply = await self._store.run("limits/renew", [asked.state_key], [lease_id, limit.window_ms])
        return reply[0] == 1

    async def release(self, asked: TakeRequest, lease_id: str) -> bool:
        """Give a permit back; False where its lease was over or unknown.

        Raises StoreUnavailable where the store did not answer: the permit comes back by itself.
        """
        _limit(asked)
        if not _ID.fullmatch(lease_id):
            return False
        if lease_id.startswith(LOCAL):
            return self._local.release(asked.state_key, lease_id)
        reply = await self._store.run("limits/release", [asked.state_key], [lease_id])
        return reply[0] == 1

    async def peek(self, asked: TakeRequest) -> Decision:
        """Tell what `lease` would decide, and change nothing; raises StoreUnavailable."""
        limit = _limit(asked)
        reply = await self._store.run("limits/peek_leases", [asked.state_key], [limit.units, limit.window_ms])
        count_discarded(self._metrics, reply)
        return decision_at(asked, reply, FIRST_DECISION)

    @asynccontextmanager
    async def hold(self, asked: TakeRequest, *, wait_ms: int = 0) -> AsyncGenerator[Lease]:
        """Hold a permit for as long as the block runs, and renew its lease meanwhile; a refusal holds nothing.

        However the block ends, the permit is released then, or at the latest when its lease is over. One that could
        not be kept is lost: the lease says so, and the block goes on.
        """
        lease = await self.lease(asked, wait_ms=wait_ms)
        if lease.id is None:
            yield lease
            return
        renewing = asyncio.create_task(self._keep(asked, lease, lease.id), name="tollhouse-lease")
        try:
            yield lease
        finally:
            # In a task of its own, so that a caller who is cancelled a second time still gives the permit back.
            await asyncio.shield(self._begin_release(asked, lease.id, renewing))

    async def aclose(self) -> None:
        """Wait for the releases that are under way, at most `release_s`."""
        if self._releasing:
            await asyncio.wait(self._releasing)

    def _delay_ms(self, lease: Lease, attempts: int, left_ms: int) -> float | None:
        retry_after_ms = lease.decision.retry_after_ms
        if retry_after_ms is None or left_ms <= 0:
            return None
        return min(pause_ms(attempts, self._uniform()), retry_after_ms, left_ms)

    async def _attempt(self, asked: TakeRequest) -> Lease:
        listed = decide_by_access_list(asked)
        if listed is not None:
            return Lease(decision=listed)
        lease_id = secrets.token_hex(16)
        try:
            decision = await self._ask(asked, lease_id)
        except StoreUnavailable:
            return self._without_store(asked, LOCAL + lease_id)
        except asyncio.CancelledError:
            self._begin_release(asked, lease_id)  # it was asked for, and there is nobody to hold it
            raise
        return Lease(decision=decision, id=lease_id if decision.refused_by is None else None)

    async def _ask(self, asked: TakeRequest, lease_id: str) -> Decision:
        limit = _limit(asked)
        reply = await self._store.run("limits/lease", [asked.state_key], [lease_id, limit.units, limit.window_ms])
        count_discarded(self._metrics, reply)
        _, far, *_ = reply
        if far:
            with suppress(StoreError):
                await self._store.run("limits/shorten_leases", [asked.state_key], [limit.window_ms])
        return decision_at(asked, reply, FIRST_DECISION)

    def _without_store(self, asked: TakeRequest, lease_id: str) -> Lease:
        if asked.compiled.policy.on_outage != "local":
            return Lease(decision=self._fallback.take(asked))
        decision = self._local.lease(asked, lease_id)
        return Lease(decision=decision, id=lease_id if decision.refused_by is None else None)

    async def _keep(self, asked: TakeRequest, lease: Lease, lease_id: str) -> None:
        """Renew a lease until it is lost.

        The store says so; under `closed` it is also lost when the store was silent for as long as a lease lasts.
        """
        window_ms = _limit(asked).window_ms
        renewed_ms = self._clock()
        while not lease.is_lost:
            await self._sleep(window_ms / 1000 / _RENEWALS)
            asked_ms = self._clock()
            try:
                kept = await self.renew(asked, lease_id)
            except StoreError:
                kept = asked.compiled.policy.on_outage != "closed" or self._clock() < renewed_ms + window_ms
            else:
                renewed_ms = asked_ms
            if not kept:
                lease.lost_event.set()
        self._metrics.decision(asked.compiled.name, "lost")
        _log.warning("lease lost", extra={"policy": asked.compiled.name})

    def _begin_release(
        self, asked: TakeRequest, lease_id: str, renewing: asyncio.Task[None] | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(self._let_go(asked, lease_id, renewing), name="tollhouse-release")
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)
        return task

    async def _let_go(self, asked: TakeRequest, lease_id: str, renewing: asyncio.Task[None] | None) -> None:
        """Give a permit back, after the last renewal was sent; within a bounded time."""
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait([renewing])
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._release_s):
                await self.release(asked, lease_id)


def pause_ms(attempt: int, chance: float) -> float:
    """Give how long to wait after the so-maniest attempt: longer each time, up to 250 ms, and by chance less."""
    longest_ms = min(_PAUSE_MS_MIN << min(attempt, 4), _PAUSE_MS_MAX)
    return _PAUSE_MS_MIN + (longest_ms - _PAUSE_MS_MIN) * chance


def _limit(asked: TakeRequest) -> Limit:
    policy = asked.compiled.policy
    if not asked.compiled.is_concurrency:
        raise InvalidInput("policy", policy.name, f"it counts by {policy.algorithm}: use `take`, or another policy")
    return policy.limits[0]
