"""The limiter: takes units of policies from a store, and answers every take with a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

from msgspec.structs import replace

from tollhouse import keys
from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.limits.calls.batcher import TAKES_MAX, Batcher, resolved_future
from tollhouse.limits.calls.decider import Decider, decide_by_access_list
from tollhouse.limits.calls.leases import Leases
from tollhouse.limits.calls.refusal_cache import RefusalCache
from tollhouse.limits.calls.reservations import HOLD_MS, Reservations
from tollhouse.limits.calls.take_all import TAKE_ALL_MAX, AllOrNothing
from tollhouse.limits.calls.waiting import Sleep, attempt_within
from tollhouse.limits.decision import Decision, Reservation, Settlement, Take, TakeAllResult
from tollhouse.limits.lease import Lease
from tollhouse.limits.outage.fallback import Fallback
from tollhouse.limits.outage.local_limiter import LocalLimiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.limits.wire.compiled_policy import compile_policies
from tollhouse.limits.wire.reply import (
    FIRST_DECISION,
    count_discarded,
    decision_at,
    decision_from_verdict,
    granted_units,
    limit_states_at,
)
from tollhouse.limits.wire.request import RequestReader, TakeRequest, checked_units
from tollhouse.metrics import Metrics
from tollhouse.scripts import ScriptRunner


class Limiter:
    """Limits of named policies, shared by all processes that use the same store.

    Keys are any text of 1 to 512 characters; the store only sees digests. The first part of a key that is in braces
    decides where it lives in a Cluster. Every call raises InvalidInput for a policy that does not exist, or has
    another algorithm than the call needs, and for a value out of bounds. Where the store gave no answer, whatever takes
    units follows the policy's rule for outages, and all else raises StoreUnavailable.

    `instances` is the number of processes that share the limits, `remembered` how many refused keys are answered
    without asking again; that needs the announcements of the store, which `refused` hears.
    """

    def __init__(
        self,
        store: ScriptRunner,
        policies: Mapping[str, Policy],
        keyring: Keyring,
        metrics: Metrics,
        *,
        instances: int = 1,
        remembered: int = 0,
        clock: MonotonicClock = monotonic_ms,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.refusals = RefusalCache(most=remembered, clock=clock)
        self._instances = instances
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self._fallback = Fallback(LocalLimiter(clock=clock))
        self._store = store
        self._decider = Decider(metrics, self.refusals, self._fallback)
        self._batcher = Batcher(self._store, self._decider, clock=clock)
        self._all_or_nothing = AllOrNothing(self._store, self._decider, self._fallback, self._batcher, clock=clock)
        self._leases = Leases(self._store, metrics, self._fallback, clock=clock, sleep=sleep)
        self._reservations = Reservations(
            self._store, metrics, self._decider, self.refusals, self._fallback, clock=clock
        )
        self._requests = RequestReader(compile_policies(policies, instances), keyring)
        self._policies = MappingProxyType(dict(policies))

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The policies that can be named."""
        return self._policies

    def replace_policies(self, policies: Mapping[str, Policy]) -> None:
        """Let other policies hold from now on; what the store counts stays.

        Raises InvalidInput, and changes nothing, where they do not fit together.
        """
        self._requests.replace(compile_policies(policies, self._instances))
        self._policies = MappingProxyType(dict(policies))
        self.refusals.clear()

    async def take(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Take `cost` units from every limit of the policy, or none from any; a cost of 0 only looks."""
        asked = self._requests.read(policy, key, cost)
        known = self._decider.without_store(asked)
        return await self._batcher.take(asked) if known is None else known

    async def take_batch(self, takes: Sequence[Take]) -> list[Decision]:
        """Decide up to 256 takes, each on its own, in order: equal ones see each other."""
        if len(takes) > TAKES_MAX:
            raise InvalidInput("takes", len(takes), f"send at most {TAKES_MAX} takes at a time")
        return await asyncio.gather(*map(self._submit, self._read_each(takes)))

    async def take_all(self, takes: Sequence[Take]) -> TakeAllResult:
        """Take from up to 64 policies and keys, or from none; equal pairs are summed. `AllOrNothing` has the rules."""
        if not 1 <= len(takes) <= TAKE_ALL_MAX:
            raise InvalidInput("takes", len(takes), f"send 1 to {TAKE_ALL_MAX} takes at a time")
        return await self._all_or_nothing.take(self._read_each(takes))

    async def take_up_to(self, policy: str, key: str, most: int) -> Decision:
        """Take as many units as there are, `most` at most, and say as the cost how many; refused where not one fits."""
        asked = self._requests.read(policy, key, checked_units("most", most, least=1))
        one = replace(asked, cost=1, shadows=())
        known = self._decider.without_store(one)
        if known is not None:
            return granted_units(asked, asked.cost if known.allowed else 0, known)
        sent_ms = self._clock()
        try:
            reply = await self._store.run("limits/take_up_to", [asked.state_key], [most, *asked.compiled.arguments])
        except StoreUnavailable:
            return self._decider.record(self._fallback.take_up_to(asked))
        self._decider.on_reply(reply)
        decision = self._decider.decode(one, reply, FIRST_DECISION + 1, sent_ms)
        return self._decider.record(granted_units(asked, reply[FIRST_DECISION], decision))

    async def acquire(self, policy: str, key: str, cost: int | None = None, *, wait_ms: int) -> Decision:
        """Take, and wait for up to `wait_ms` while there is no room.

        A refusal that would last longer is returned at once. Callers that wait for one key wake up together and are
        decided in one call, in the order in which they wake up.
        """

        async def attempt() -> Decision:
            return await self.take(policy, key, cost)

        return await attempt_within(wait_ms, attempt, _delay_ms, clock=self._clock, sleep=self._sleep)

    async def peek(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Tell what `take` would decide, or `lease`, and change nothing."""
        asked = self._requests.read_subject(policy, key)
        if asked.compiled.is_concurrency:
            return await self._leases.peek(asked)
        asked = self._requests.read(policy, key, cost)
        listed = decide_by_access_list(asked)
        if listed is not None:
            return listed
        reply = await self._store.run("limits/peek", [asked.state_key], [asked.cost, *asked.compiled.arguments])
        count_discarded(self._metrics, reply)
        return decision_at(asked, reply, FIRST_DECISION)

    async def refund(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Give back up to `cost` units, never more than were taken; the cost of the decision says how many."""
        asked = self._requests.read(policy, key, cost)
        decision = await self._refund(asked)
        for one in asked.shadows:
            await self._refund(one)
        return decision

    async def reset(self, policy: str, key: str) -> bool:
        """Forget what the subject took under the policy, permits included; False where there was nothing."""
        asked = self._requests.read_subject(policy, key)
        try:
            reply = await self._store.run("limits/reset", [asked.state_key], [keys.rate_clearings()])
        finally:
            self.refusals.evict(asked.state_key)
        return reply[0] == 1

    async def reserve(self, policy: str, key: str, estimate: int, hold_ms: int = HOLD_MS) -> Reservation:
        """Hold `estimate` units until `settle` says how many were needed, or else for `hold_ms`."""
        return await self._reservations.reserve(
            self._requests.read(policy, key, checked_units("estimate", estimate)), hold_ms
        )

    async def settle(self, policy: str, key: str, id: str, actual: int) -> Settlement:  # noqa: A002 - as in `Reservation`
        """Charge `actual` units in place of what was held, also where that is more, and more than the limit."""
        return await self._reservations.settle(self._requests.read(policy, key, checked_units("actual", actual)), id)

    def hold(self, policy: str, key: str, *, wait_ms: int = 0) -> AbstractAsyncContextManager[Lease]:
        """Hold a permit for as long as the block runs, and see to it that it stays held. `Leases` has the rules."""
        return self._leases.hold(self._requests.read_subject(policy, key), wait_ms=wait_ms)

    async def lease(self, policy: str, key: str, wait_ms: int = 0) -> Lease:
        """Hold a permit for one window, or until it is renewed or released."""
        return await self._leases.lease(self._requests.read_subject(policy, key), wait_ms=wait_ms)

    async def renew(self, policy: str, key: str, id: str) -> bool:  # noqa: A002 - as in `Lease`
        """Hold a permit for another window; False where it is not held any more."""
        return await self._leases.renew(self._requests.read_subject(policy, key), id)

    async def release(self, policy: str, key: str, id: str) -> bool:  # noqa: A002 - as in `Lease`
        """Give a permit back; False where it was not held any more."""
        return await self._leases.release(self._requests.read_subject(policy, key), id)

    async def aclose(self) -> None:
        """Wait, for a bounded time, until permits whose holders have gone are given back."""
        await self._leases.aclose()

    def _read_each(self, takes: Sequence[Take]) -> list[TakeRequest]:
        found: list[TakeRequest] = []
        for position, take in enumerate(takes):
            try:
                found.append(self._requests.read(take.policy, take.key, take.cost))
            except InvalidInput as error:
                field = f"takes[{position}].{error.field}"
                raise InvalidInput(field, error.value, error.remedy, kind=error.kind) from error
        return found

    def _submit(self, asked: TakeRequest) -> asyncio.Future[Decision]:
        known = self._decider.without_store(asked)
        return self._batcher.submit(asked) if known is None else resolved_future(known)

    async def _refund(self, asked: TakeRequest) -> Decision:
        try:
            reply = await self._store.run(
                "limits/refund", [asked.state_key], [asked.cost, keys.rate_clearings(), *asked.compiled.arguments]
            )
        finally:
            self.refusals.evict(asked.state_key)  # also where nobody knows whether it was done
        count_discarded(self._metrics, reply)
        given_back = replace(asked, cost=reply[FIRST_DECISION])
        return decision_from_verdict(given_back, 0, 0, limit_states_at(asked, reply, FIRST_DECISION + 1))


def _delay_ms(decision: Decision, _attempts: int, left_ms: int) -> int | None:
    """Return exactly the wait that the refusal states, or None if there is none or it is longer than `left_ms`."""
    retry_after_ms = decision.retry_after_ms
    return None if retry_after_ms is None or retry_after_ms > left_ms else retry_after_ms
