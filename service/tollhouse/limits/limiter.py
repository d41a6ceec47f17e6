"""The limiter: the verbs of rate limiting on one store, each of which returns a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from tollhouse.clock import MonotonicClock, Sleep, monotonic_ms
from tollhouse.errors import InvalidInput, StoreUnavailable, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.limits.calls.acquire import WaitingTakes
from tollhouse.limits.calls.batcher import TAKES_MAX, Batcher
from tollhouse.limits.calls.calls import calls_on
from tollhouse.limits.calls.decider import decide_by_access_list
from tollhouse.limits.calls.leases import Leases
from tollhouse.limits.calls.quota_calls import QuotaCalls
from tollhouse.limits.calls.refunds import Refunds
from tollhouse.limits.calls.refusal_cache import RefusalCache
from tollhouse.limits.calls.reservations import HOLD_MS, Reservations
from tollhouse.limits.calls.take_all import TAKE_ALL_MAX, AllOrNothing
from tollhouse.limits.calls.together import decided, start_decided
from tollhouse.limits.decision import Decision, Lease, Reservation, Settlement, Take, TakeAllResult
from tollhouse.limits.policy.policy import Policy
from tollhouse.limits.wire.compiled_policy import CompiledPolicy, compile_policies
from tollhouse.limits.wire.reply import FIRST_DECISION, decision_at, granted_units, with_lease
from tollhouse.limits.wire.request import RequestReader, TakeRequest, checked_units
from tollhouse.metrics import Metrics
from tollhouse.runtime.receiver import Receiver
from tollhouse.scripts import ScriptRunner

_TAKES: Final = 'give a list of takes, such as [Take(policy="api", key="ada")]'


class Limiter:
    """Limits by named policies, shared by all processes that use the same store.

    Keys are any text of 1 to 512 characters; the store only sees digests. The first part of a key that is in braces
    decides its slot in a Cluster. Every call raises InvalidInput if the policy does not exist, if its algorithm has no
    such call, or if a value is out of bounds. While the store does not answer, every call that takes units follows the
    policy's outage rule, and all others raise StoreUnavailable.

    `instances` is the number of processes that share the limits. `refusals_max` bounds the keys whose refusals are
    cached; the cache needs the announcements of the store, which the caller subscribes for `refusals`. Limiters of two
    namespaces share no counter. Without `enabled` every take is allowed, uncounted. `now_ms` measures the age of takes.
    """

    def __init__(
        self,
        store: ScriptRunner,
        policies: Mapping[str, Policy],
        keyring: Keyring,
        metrics: Metrics,
        *,
        namespace: Namespace = UNNAMED,
        instances: int = 1,
        refusals_max: int = 0,
        enabled: bool = True,
        clock: MonotonicClock = monotonic_ms,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._calls = calls_on(
            store, metrics, refusals_max=refusals_max, clock=clock, clearings=namespace.rate_clearings
        )
        self._decider = self._calls.decider
        self._quota = QuotaCalls(self._calls, sleep=sleep)
        self._batcher = Batcher(self._calls, self._quota)
        self._all_or_nothing = AllOrNothing(self._calls, self._batcher)
        self._leases = Leases(self._calls, sleep=sleep)
        self._reservations = Reservations(self._calls)
        self._refunds = Refunds(self._calls)
        self.now_ms: Final = clock
        self._enabled = self._is_on = enabled
        self._instances = instances
        self._requests = RequestReader(self._compiled(policies), keyring, namespace)
        self._policies = MappingProxyType(dict(policies))
        self._waiting_takes = WaitingTakes(self._calls, self._batcher, self.undo, sleep)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The policies in force, by name."""
        return self._policies

    def on_cleared(self, payload: bytes) -> None:
        """Evict what this process remembers of the key of an announcement: another one gave units back, or reset it."""
        self.refusals.on_cleared(payload)
        self._quota.on_cleared(payload)

    @property
    def refusals(self) -> RefusalCache:
        """The cache of refusals, which has to hear the announcements of the store."""
        return self._calls.refusals

    def replace_policies(self, policies: Mapping[str, Policy]) -> None:
        """Put other policies in force; the counters in the store stay.

        Raises InvalidInput, and changes nothing, if they do not fit together.
        """
        compiled = self._compiled(policies)
        self._requests.replace(compiled)
        self._policies = MappingProxyType(dict(policies))
        self.refusals.clear()
        self._quota.on_policies(compiled)

    def switch(self, *, on: bool | None) -> None:
        """Enable or disable all limits; None means as the limiter was opened."""
        self._is_on = self._enabled if on is None else on
        self.replace_policies(self._policies)

    def forget(self) -> None:
        """Drop what this process remembers of refusals, its quota leases, and what it did during an outage."""
        self.refusals.clear()
        self._quota.forget()
        self._calls.fallback.local.forget()

    async def take(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Take `cost` units from every limit of the policy, or none from any; a cost of 0 only looks."""
        known = self._decider.without_store(request := self._requests.read(policy, key, cost))
        return await self._batcher.take(request) if known is None else known

    def submit(self, receiver: Receiver, policy: str, key: str, cost: int | None = None) -> None:
        """Start what `take` does, for a receiver, which has the decision at once if no store has to decide."""
        if (known := self._decider.without_store(request := self._requests.read(policy, key, cost))) is None:
            self._batcher.submit_for(receiver, request)
        else:
            receiver.set_result(known)

    def start_take(self, policy: str, key: str, cost: int | None = None) -> Decision | Awaitable[Decision]:
        """Start what `take` does, for a coroutine: return the decision if no store has to decide, or what to await."""
        known = self._decider.without_store(request := self._requests.read(policy, key, cost))
        return self._batcher.take(request) if known is None else known

    async def take_batch(self, takes: Sequence[Take]) -> list[Decision]:
        """Decide up to 256 takes, each on its own, in order: equal ones see each other."""
        return await decided(self._submit_each(takes))

    def submit_batch(self, takes: Sequence[Take]) -> asyncio.Task[list[Decision]]:
        """Start what `take_batch` does, for a caller that is no coroutine, and that owns the task."""
        return start_decided(self._submit_each(takes))

    async def take_all(self, takes: Sequence[Take]) -> TakeAllResult:
        """Take from up to 64 policies and keys, or from none; equal pairs are summed. `AllOrNothing` has the rules."""
        return await self._all_or_nothing.take(self._read_together(takes))

    def cached_refusal(self, takes: Sequence[Take]) -> Decision | None:
        """Return a refusal that this process knows `take_all` would meet, or None if the store has to decide.

        It is the one that lasts longest among the cached refusals of the takes, with its own wait, and is counted as
        a decision. `take_all` itself does not use the cache, because the whole may wait longer than one of its takes.
        """
        return self._all_or_nothing.cached_refusal(self._read_together(takes))

    async def take_up_to(self, policy: str, key: str, most: int) -> Decision:
        """Take as many units as there are, `most` at most; the decision's cost is how many. Refuse if there is none."""
        request = self._requests.read(policy, key, checked_units("most", most, least=1))
        one_unit = replace(request, cost=1, shadows=())
        known = self._decider.without_store(one_unit, may_lease=False)
        if known is not None:
            return granted_units(request, request.cost if known.allowed else 0, known)
        sent_ms = self._calls.clock()
        try:
            reply = await self._calls.run("limits/take_up_to", request, [most, *request.compiled.arguments])
        except StoreUnavailable:
            return self._decider.record(self._calls.fallback.take_up_to(request))
        decision = self._decider.decode(one_unit, reply, FIRST_DECISION + 1, sent_ms)
        return self._decider.record(granted_units(request, reply[FIRST_DECISION], decision))

    async def acquire(self, policy: str, key: str, cost: int | None = None, *, wait_ms: int) -> Decision:
        """Take, and wait for up to `wait_ms` while there is no room.

        A refusal that would last longer is returned at once. A caller that is cancelled is charged nothing.
        """
        return await self._waiting_takes.acquire(lambda: self._requests.read(policy, key, cost), wait_ms)

    async def peek(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Return what `take` would decide, or `lease`, and change nothing."""
        subject = self._requests.read_subject(policy, key)
        if subject.compiled.is_concurrency:
            return await self._leases.peek(subject)
        request = self._requests.read(policy, key, cost)
        if (listed := decide_by_access_list(request)) is not None:
            return listed
        reply = await self._calls.run("limits/peek", request, [request.cost, *request.compiled.arguments])
        return with_lease(request, decision_at(request, reply, FIRST_DECISION), self._calls.quota.left(request))

    async def refund(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Refund up to `cost` units, never more than were taken; the decision's cost is how many.

        Under `lease = "auto"` units that other processes lease count as taken: refund no more than you took.
        """
        request = self._requests.read(policy, key, cost)
        await self._quota.give_back(request.state_key)
        return await self._refunds.refund(request)

    def start_refund(self, taken: Decision, *, age_ms: int = 0) -> asyncio.Task[None] | None:
        """Start what `undo` does, and go on if the caller leaves; log a loss. None if there is no need to wait."""
        request = self._request_of(taken, age_ms)
        return None if request is None else self._refunds.start(request, taken, age_ms)

    def start_undo(self, taken: Decision, *, age_ms: int = 0) -> asyncio.Task[None] | None:
        """Start what `start_refund` does, for a request that another limit refused; it may wait for 100 ms.

        A flood of such requests announces few refunds; `Refunds` has the rules.
        """
        request = self._request_of(taken, age_ms)
        return None if request is None else self._refunds.start_undo(request, taken, age_ms)

    async def undo(self, decision: Decision, *, age_ms: int = 0) -> None:
        """Refund what a take was charged: by the store, or by this process if it decided during an outage.

        `age_ms` is how long ago the take was sent: a window that has released its units by itself gets none back, else
        they would be those of later takes. A decision that charged nothing is left alone. Raise StoreUnavailable if the
        store charged it and is down now.
        """
        request = self._request_of(decision, age_ms)
        if request is not None and not self._refunds.refund_locally(request, decision, age_ms):
            await self._refunds.refund(request, age_ms=age_ms)

    async def reset(self, policy: str, key: str) -> bool:
        """Delete what is stored of the subject under the policy, leases included; return False if there was nothing."""
        subject = self._requests.read_subject(policy, key)
        self._quota.drop(subject.state_key)
        reply = await self._calls.run_clearing("limits/reset", subject, [self._calls.clearings])
        return reply[0] == 1

    async def reserve(self, policy: str, key: str, estimate: int, hold_ms: int = HOLD_MS) -> Reservation:
        """Hold `estimate` units until `settle` states how many were needed, for `hold_ms` at most."""
        request = self._requests.read(policy, key, checked_units("estimate", estimate))
        return await self._reservations.reserve(request, hold_ms)

    async def settle(self, policy: str, key: str, id: str, actual: int) -> Settlement:  # noqa: A002 - as in `Reservation`
        """Charge `actual` units in place of what was held, even if that is more than was held, or than the limit."""
        return await self._reservations.settle(self._requests.read(policy, key, checked_units("actual", actual)), id)

    def hold(self, policy: str, key: str, *, wait_ms: int = 0) -> AbstractAsyncContextManager[Lease]:
        """Hold a permit while the block runs, and keep its lease renewed. `Leases` has the rules."""
        return self._leases.hold(self._requests.read_subject(policy, key), wait_ms=wait_ms)

    async def lease(self, policy: str, key: str, wait_ms: int = 0) -> Lease:
        """Acquire a permit for one window, or until it is renewed or released."""
        return await self._leases.lease(self._requests.read_subject(policy, key), wait_ms=wait_ms)

    async def renew(self, policy: str, key: str, id: str) -> bool:  # noqa: A002 - as in `Lease`
        """Extend a lease to one window from now; return False if the permit is not held any more."""
        return await self._leases.renew(self._requests.read_subject(policy, key), id)

    async def release(self, policy: str, key: str, id: str) -> bool:  # noqa: A002 - as in `Lease`
        """Release a permit; return False if it was not held any more."""
        return await self._leases.release(self._requests.read_subject(policy, key), id)

    async def aclose(self) -> None:
        """Wait, for a bounded time, until refunds and releases for callers that are gone are sent."""
        await self._calls.cleanups.aclose()
        await self._refunds.aclose()
        await self._quota.aclose()

    def _compiled(self, policies: Mapping[str, Policy]) -> dict[str, CompiledPolicy]:
        return compile_policies(policies, self._instances, enabled=self._is_on)

    def _read_together(self, takes: Sequence[Take]) -> list[TakeRequest]:
        require_type("takes", takes, Sequence, _TAKES)
        if not 1 <= len(takes) <= TAKE_ALL_MAX:
            raise InvalidInput("takes", len(takes), f"send 1 to {TAKE_ALL_MAX} takes at a time")
        return self._read_each(takes)

    def _read_each(self, takes: Sequence[Take]) -> list[TakeRequest]:
        requests: list[TakeRequest] = []
        for position, take in enumerate(takes):
            if type(take) is not Take:
                require_type(f"takes[{position}]", take, Take, _TAKES)
            try:
                requests.append(self._requests.read(take.policy, take.key, take.cost))
            except InvalidInput as error:
                field = f"takes[{position}].{error.field}"
                raise InvalidInput(field, error.value, error.remedy, kind=error.kind) from error
        return requests

    def _request_of(self, taken: Decision, age_ms: int) -> TakeRequest | None:
        """Return the request to refund a take; None if it charged nothing, or the policy has other windows now."""
        require_type("age_ms", age_ms, int, "give whole milliseconds")
        require_type("decision", taken, Decision, "give the decision that a take returned")
        policy = self._policies.get(taken.policy)
        is_charged = taken.allowed and taken.reason == "within-limits" and taken.cost > 0
        if policy is None or policy.is_concurrency or not is_charged:
            return None
        request = self._requests.read(taken.policy, taken.key, taken.cost)
        windows_ms = [window_ms for _, window_ms in request.compiled.windows]
        return request if windows_ms == [state.window_ms for state in taken.limits] else None

    def _submit_each(self, takes: Sequence[Take]) -> list[Decision | asyncio.Future[Decision]]:
        require_type("takes", takes, Sequence, _TAKES)
        if len(takes) > TAKES_MAX:
            raise InvalidInput("takes", len(takes), f"send at most {TAKES_MAX} takes at a time")
        known, submit = self._decider.without_store, self._batcher.submit
        return [submit(one) if (decision := known(one)) is None else decision for one in self._read_each(takes)]
