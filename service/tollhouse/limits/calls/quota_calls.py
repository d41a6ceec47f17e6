"""The calls of quota leases: a take of a busy key fetches one, and what is left of it is given back.

Of one key one lease is on its way at a time; other takes of the key go on as ever meanwhile. The call that fetches the
next lease gives back what is left of the former one. If no take comes, the units are given back soon after the
deadline, and at once when the limiter closes, when policies change, and when the store refuses the key. Units whose
return is lost stay charged until their sub-bucket is released: that wastes room, and admits no more than the limit.

A reset deletes the counters in which a lease was charged, and new takes may be charged in the same sub-bucket. So what
is left of the lease is dropped, here and in other processes, which the announcement of the reset tells. A return that
waits to be sent is recalled; one that was sent before the reset, and runs after it, takes units of others away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from tollhouse.clock import Sleep
from tollhouse.errors import ScriptFailed, StoreError, StoreRefused, StoreUnavailable
from tollhouse.limits.algorithms.quota import SLACK_MS
from tollhouse.limits.calls.calls import Calls
from tollhouse.limits.decision import Decision
from tollhouse.limits.quota.lease import QuotaLease
from tollhouse.limits.quota.leases import PAUSE_MS, TERMS
from tollhouse.limits.wire.compiled_policy import CompiledPolicy
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.logs import Log
from tollhouse.runtime.background import BackgroundTasks
from tollhouse.runtime.home_loop import running_loop
from tollhouse.runtime.receiver import Receiver, fail, resolve
from tollhouse.scripts import Argument

RETURN_S: Final = 2.0
"""How long a return may take; after that its units stay charged."""
SWEEP_MS: Final = 20
"""How long after a deadline what is left is given back, if no take has brought it along."""
_SCRIPT: Final = "limits/lease_quota"
_BACK, _UNITS, _NOW_MS, _LASTS_MS, _DECISION = 2, 3, 4, 5, 6
_RESET: Final = b"-"
"""What an announcement begins with if it is of a reset: its time is negative."""

_log = Log("tollhouse.limits")


class _Fetch:
    """A take that fetches a lease; `is_former` says that other policies with the same counters are in force since."""

    __slots__ = ("former", "is_former", "receiver", "request")

    def __init__(self, request: TakeRequest, receiver: Receiver, former: QuotaLease | None) -> None:
        self.request = request
        self.receiver = receiver
        self.former = former
        self.is_former = False


class QuotaCalls:
    """Fetches quota leases and gives back what is left of them, for one limiter."""

    def __init__(self, calls: Calls, *, sleep: Sleep = asyncio.sleep, return_s: float = RETURN_S) -> None:
        self._calls = calls
        self._leases = calls.quota
        self._leases.on_end = self._end
        self._sleep = sleep
        self._return_s = return_s
        self._fetching: dict[str, _Fetch] = {}
        self._returning: dict[QuotaLease, asyncio.Task[None]] = {}
        self._tasks = BackgroundTasks()
        self._sweeper: asyncio.Task[None] | None = None
        self._sweeps_ms = 0
        self._is_closed = False

    def fetch(self, request: TakeRequest, receiver: Receiver) -> bool:
        """Take together with a lease, for a receiver of the decision; return False if the take goes on as ever."""
        per_second = self._leases.wanted(request, len(self._fetching))
        if per_second == 0 or request.state_key in self._fetching or self._is_closed:
            return False
        former = self._leases.pop(request.state_key)
        fetch = self._fetching[request.state_key] = _Fetch(request, receiver, former)
        self._tasks.start(self._fetch(fetch, per_second), "tollhouse-quota-lease")
        return True

    async def give_back(self, state_key: str) -> None:
        """End the lease of a key, and wait until what is left of it is given back, or lost."""
        self._leases.end(state_key)
        returns = [task for lease, task in self._returning.items() if lease.request.state_key == state_key]
        if returns:
            await asyncio.wait(returns)

    def drop(self, state_key: str) -> None:
        """Lose the lease of a key, also one on its way here or back: the counters in which it was charged are gone."""
        self._fetching.pop(state_key, None)
        lease = self._leases.pop(state_key)
        if lease is not None:
            self._lose(lease)
        for returned in [one for one in self._returning if one.request.state_key == state_key]:
            self._recall(returned)

    def forget(self) -> None:
        """Lose all leases, and what was seen of the keys."""
        self._fetching.clear()
        self._leases.forget_demand()
        for lease in self._leases.pop_all():
            self._lose(lease)
        for lease in tuple(self._returning):
            self._recall(lease)

    def on_policies(self, policies: Mapping[str, CompiledPolicy]) -> None:
        """End all leases, because other policies are in force.

        The leases of a policy that counts in other windows now are lost: to give them back would delete its counters.
        """
        for state_key, fetch in tuple(self._fetching.items()):
            if _counts_alike(fetch.request, policies):
                fetch.is_former = True
            else:
                del self._fetching[state_key]
        for lease in [one for one in self._returning if not _counts_alike(one.request, policies)]:
            self._recall(lease)
        for lease in self._leases.pop_all():
            if _counts_alike(lease.request, policies):
                self._end(lease)
            else:
                self._lose(lease)

    def on_cleared(self, payload: bytes) -> None:
        """Drop the lease of a key that another process has reset."""
        if payload.startswith(_RESET):
            self.drop(payload.partition(b" ")[2].decode(errors="replace"))

    async def aclose(self) -> None:
        """Refund all that is left, and wait for it, at most `return_s`; nothing is leased any more."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for lease in self._leases.pop_all():
            self._end(lease)
        await self._tasks.aclose()

    async def _fetch(self, fetch: _Fetch, per_second: int) -> None:
        request, receiver, former = fetch.request, fetch.receiver, fetch.former
        if former is not None and self._fetching.get(request.state_key) is not fetch:  # dropped before it was sent
            self._lose(former)
            former = None
        if receiver.done():  # before it was sent
            self._end_fetch(fetch)
            if former is not None:
                self._end(former)
            return
        sent_ms, back = self._calls.clock(), 0
        try:
            terms = [request.cost, per_second, TERMS.longest_ms, TERMS.parts, TERMS.least]
            reply = await self._calls.run(_SCRIPT, request, self._arguments(terms, request, former))
            back = reply[_BACK]
            resolve(receiver, self._calls.decider.record(self._on_reply(fetch, reply, sent_ms)))
        except StoreUnavailable:
            self._leases.rest(request.state_key, TERMS.longest_ms)
            resolve(receiver, self._calls.decider.on_outage(request))
        except (ScriptFailed, StoreRefused) as error:
            fail(receiver, error)
        except BaseException as error:
            fail(receiver, error)
            raise
        finally:
            self._end_fetch(fetch)
            if former is not None:
                self._count(former, back)

    def _on_reply(self, fetch: _Fetch, reply: Sequence[int], sent_ms: int) -> Decision:
        """Put the lease of a reply in force, if there is one, and return the decision on the take."""
        request, is_wanted = fetch.request, self._end_fetch(fetch)
        decision = self._calls.decider.decode(request, reply, _DECISION, sent_ms)
        size, lasts_ms = reply[_UNITS], reply[_LASTS_MS]
        if size == 0:
            if decision.allowed:
                self._leases.rest(request.state_key, lasts_ms + SLACK_MS)
            return decision
        now_ms = self._calls.clock()
        lease = QuotaLease(
            request,
            decision,
            asyncio.get_running_loop(),
            size=size,
            charged_ms=reply[_NOW_MS],
            deadline_ms=sent_ms + lasts_ms,
            ready_ms=now_ms,
        )
        if not is_wanted:
            self._lose(lease)
        elif self._is_closed or fetch.is_former or now_ms >= lease.deadline_ms:
            self._leases.rest(request.state_key, PAUSE_MS)
            self._end(lease)
        else:
            self._leases.put(lease)
            self._ensure_sweeper(lease.deadline_ms)
        limits = tuple(replace(state, remaining=state.remaining + size) for state in decision.limits)
        return replace(decision, limits=limits)

    def _end_fetch(self, fetch: _Fetch) -> bool:
        """End the fetch; return False if its lease is no longer wanted: by a reset, or by other policies."""
        if self._fetching.get(fetch.request.state_key) is not fetch:
            return False
        del self._fetching[fetch.request.state_key]
        return True

    def _ensure_sweeper(self, deadline_ms: int) -> None:
        """Start the sweeper, or start it anew if it sleeps for longer than until a deadline."""
        if self._sweeper is not None and not self._sweeper.done():
            if deadline_ms >= self._sweeps_ms:
                return
            self._sweeper.cancel()
        self._sweeps_ms = deadline_ms
        self._sweeper = self._tasks.start(self._sweep(), "tollhouse-quota-sweep")

    async def _sweep(self) -> None:
        """Refund what is left of leases soon after their deadlines; end when there are none."""
        while (deadline_ms := self._leases.end_overdue()) is not None:
            self._sweeps_ms = deadline_ms
            await self._sleep((max(deadline_ms - self._calls.clock(), 0) + SWEEP_MS) / 1_000)

    def _end(self, lease: QuotaLease) -> None:
        """Refund what is left of a lease, which is in force no more."""
        if lease.left == 0 or running_loop() is not lease.loop:
            self._lose(lease)
        else:
            self._returning[lease] = self._tasks.start(self._return(lease), "tollhouse-quota-return")

    def _recall(self, lease: QuotaLease) -> None:
        """Lose a lease that is on its way back; if that was sent, what it gives back is not counted."""
        self._returning.pop(lease).cancel()
        self._lose(lease)

    def _lose(self, lease: QuotaLease) -> None:
        self._count(lease, 0)

    async def _return(self, lease: QuotaLease) -> None:
        request, back = lease.request, 0
        try:
            async with asyncio.timeout(self._return_s):
                args = self._arguments([0, 0, 0, 1, 1], request, lease)
                reply = await self._calls.run_clearing(_SCRIPT, request, args)
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._return_s} s"
            extra = {"policy": request.compiled.name, "units": lease.left, "reason": reason}
            _log.warning("quota lease lost", extra=extra)
        else:
            self._calls.decider.on_reply(reply)
            back = reply[_BACK]
        finally:
            self._returning.pop(lease, None)
        self._count(lease, back)

    def _arguments(self, terms: Sequence[int], request: TakeRequest, former: QuotaLease | None) -> list[Argument]:
        left, charged_ms = (0, 0) if former is None else (former.left, former.charged_ms)
        return [*terms, left, charged_ms, self._calls.clearings, *request.compiled.arguments]

    def _count(self, lease: QuotaLease, back: int) -> None:
        """Count a lease that is over, of which `back` units came back."""
        name, back = lease.request.compiled.name, min(back, lease.left)
        metrics = self._calls.metrics
        metrics.quota_lease(name, lease.decisions, used=lease.used, returned=back, lost=lease.left - back)


def _counts_alike(request: TakeRequest, policies: Mapping[str, CompiledPolicy]) -> bool:
    """Return whether the policy of a request still counts in the same counters."""
    before = request.compiled
    now = policies.get(before.name)
    return now is not None and _counters(now) == _counters(before)


def _counters(compiled: CompiledPolicy) -> set[object]:
    """Return what identifies the counters of a policy."""
    policy = compiled.policy
    return {limit.counter_id(policy.algorithm) for limit in policy.limits}
