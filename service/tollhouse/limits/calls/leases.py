"""Leases of `concurrency` policies: a permit is held until it is released, or until its holder stops renewing it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from tollhouse.clock import Sleep
from tollhouse.errors import InvalidInput, StoreError, StoreUnavailable
from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX
from tollhouse.limits.calls.calls import Calls, is_id, new_id
from tollhouse.limits.calls.decider import decide_by_access_list
from tollhouse.limits.calls.waiting import attempt_within
from tollhouse.limits.decision import Decision, Lease
from tollhouse.limits.outage.fallback import LOCAL
from tollhouse.limits.policy.policy import Limit
from tollhouse.limits.wire.reply import FIRST_DECISION, decision_at
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.logs import Log

_PAUSE_MS_MIN: Final = 20
_PAUSE_MS_MAX: Final = 250
_RENEWALS: Final = 3
"""Renewals in one window, so that a lease outlives two renewals that get lost."""
_log = Log("tollhouse.limits")


class Leases:
    """Grants permits; a lease lasts for the policy's window from its grant or its last renewal.

    A refusal states after how long a permit is free if no lease is renewed or released before. During an outage `local`
    grants this process's share of the permits; only this process knows their ids. Every call raises InvalidInput if the
    policy has another algorithm.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        sleep: Sleep = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._calls = calls
        self._sleep = sleep
        self._uniform = uniform

    async def lease(self, request: TakeRequest, *, wait_ms: int = 0) -> Lease:
        """Acquire a permit; if none is free, try again for up to `wait_ms`.

        A release is not announced, so a waiting caller polls every 20 to 250 ms, and once more when its time is over.
        """
        _limit(request)
        attempt = partial(self._attempt, request)
        lease = await attempt_within(wait_ms, attempt, self._delay_ms, clock=self._calls.clock, sleep=self._sleep)
        self._calls.decider.record(lease.decision)
        return lease

    async def renew(self, request: TakeRequest, lease_id: str) -> bool:
        """Extend a lease to one window from now; return False, and change nothing, if it expired or is unknown.

        Raise StoreUnavailable if the store did not answer: the lease may have been renewed.
        """
        local = self._calls.fallback.local.renew
        return await self._change("limits/renew", local, request, lease_id, _limit(request).window_ms)

    async def release(self, request: TakeRequest, lease_id: str) -> bool:
        """Release a permit; return False if its lease expired or is unknown.

        Raise StoreUnavailable if the store did not answer: the permit returns when the lease expires.
        """
        _limit(request)
        return await self._change("limits/release", self._calls.fallback.local.release, request, lease_id)

    async def peek(self, request: TakeRequest) -> Decision:
        """Return what `lease` would decide, and change nothing; raise StoreUnavailable if the store did not answer."""
        limit = _limit(request)
        listed = decide_by_access_list(request)
        if listed is not None:
            return listed
        reply = await self._calls.run("limits/peek_leases", request, [limit.units, limit.window_ms])
        return decision_at(request, reply, FIRST_DECISION)

    @asynccontextmanager
    async def hold(self, request: TakeRequest, *, wait_ms: int = 0) -> AsyncGenerator[Lease]:
        """Hold a permit while the block runs, and renew its lease meanwhile; a refusal holds nothing.

        However the block ends, the permit is released then, or at the latest when its lease expires. If it is lost
        meanwhile, the lease says so and the block goes on.
        """
        lease = await self.lease(request, wait_ms=wait_ms)
        if lease.id is None:
            yield lease
            return
        renewals = asyncio.create_task(self._keep_renewed(request, lease, lease.id), name="tollhouse-lease")
        try:
            yield lease
        finally:
            await asyncio.shield(self._calls.cleanups.start(self._release_after(request, lease.id, renewals)))

    async def aclose(self) -> None:
        """Wait for the releases in progress."""
        await self._calls.cleanups.aclose()

    async def _change(
        self, script: str, local: Callable[[TakeRequest, str], bool], request: TakeRequest, lease_id: str, *args: int
    ) -> bool:
        if not is_id(lease_id):
            return False
        if lease_id.startswith(LOCAL):
            return local(request, lease_id)
        reply = await self._calls.store.run(script, [request.state_key], [lease_id, *args])
        return reply[0] == 1

    def _delay_ms(self, lease: Lease, attempts: int, left_ms: int) -> float | None:
        retry_after_ms = lease.decision.retry_after_ms
        if retry_after_ms is None or left_ms <= 0:
            return None
        return min(pause_ms(attempts, self._uniform()), retry_after_ms, left_ms)

    async def _attempt(self, request: TakeRequest) -> Lease:
        listed = decide_by_access_list(request)
        if listed is not None:
            return Lease(decision=listed)
        lease_id = new_id()
        try:
            decision = await self._call(request, lease_id)
        except StoreUnavailable:
            lease_id = LOCAL + lease_id
            decision, is_held = self._calls.fallback.lease(request, lease_id)
        except asyncio.CancelledError:
            # The call may have granted it, and no caller will hold it.
            self._calls.cleanups.start(self.release(request, lease_id))
            raise
        else:
            is_held = decision.refused_by is None
        return Lease(decision=decision, id=lease_id if is_held else None)

    async def _call(self, request: TakeRequest, lease_id: str) -> Decision:
        limit = _limit(request)
        reply = await self._calls.run("limits/lease", request, [lease_id, limit.units, limit.window_ms])
        _, too_far_ahead, *_ = reply
        if too_far_ahead:
            with suppress(StoreError):
                await self._calls.store.run("limits/clamp_leases", [request.state_key], [limit.window_ms])
        return decision_at(request, reply, FIRST_DECISION)

    async def _keep_renewed(self, request: TakeRequest, lease: Lease, lease_id: str) -> None:
        """Renew a lease until it is lost.

        The store reports the loss. Under `closed` a lease is also lost after a whole window without a reply. It is
        renewed at least once a minute, because `clamp` leaves it a minute if the policy's window was lowered.
        """
        clock, window_ms = self._calls.clock, _limit(request).window_ms
        renewed_ms = clock()
        while not lease.is_lost:
            await self._sleep(min(window_ms / _RENEWALS, AHEAD_MS_MAX) / 1000)
            sent_ms = clock()
            try:
                is_held = await self.renew(request, lease_id)
            except StoreError:
                is_held = request.compiled.policy.on_outage != "closed" or clock() < renewed_ms + window_ms
            else:
                renewed_ms = sent_ms
            if not is_held:
                lease.lost_event.set()
        self._calls.metrics.decision(request.compiled.name, "lost")
        _log.warning("lease lost", extra={"policy": request.compiled.name})

    async def _release_after(self, request: TakeRequest, lease_id: str, renewals: asyncio.Task[None]) -> None:
        """Release the permit, and stop the renewals; if that fails, the permit returns when its lease expires.

        The release is sent before anything is awaited, so a take that this process sends later finds the permit free.
        """
        renewals.cancel()
        try:
            await self.release(request, lease_id)
        finally:
            await asyncio.wait([renewals])


def pause_ms(attempt: int, chance: float) -> float:
    """Return the jittered delay after an attempt: at least 20 ms, and at most a bound that doubles up to 250 ms."""
    longest_ms = min(_PAUSE_MS_MIN << min(attempt, 4), _PAUSE_MS_MAX)
    return _PAUSE_MS_MIN + (longest_ms - _PAUSE_MS_MIN) * chance


def _limit(request: TakeRequest) -> Limit:
    policy = request.compiled.policy
    if not request.compiled.is_concurrency:
        raise InvalidInput("policy", policy.name, f"it counts by {policy.algorithm}: use `take`, or another policy")
    return policy.limits[0]
