"""The limiter: takes units of policies from a store, and answers every take with a decision."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Protocol

from msgspec import Struct

from tollhouse import keys
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.limits.decision import Decision, LimitState, Reason, Take
from tollhouse.limits.policy import NAME_CHARACTERS_MAX, UNITS_MAX, Policy
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument

TAKES_MAX: Final = 256
KEY_CHARACTERS_MAX: Final = 512

_LABEL: Final = "rate"
_BRACED: Final = re.compile(r"\{([^}]+)\}")


class Store(Protocol):
    """What the limiter needs of a store."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script; raises StoreUnavailable where no answer can be relied on."""
        ...


class _Asked(Struct, frozen=True, kw_only=True):
    take: Take
    policy: Policy
    state: str
    cost: int


class Limiter:
    """Limits of named policies, shared by all processes that use the same store.

    Keys are any text of 1 to 512 characters; the store only sees digests. The first part of a key that is
    in braces decides where it lives in a Cluster. Every call raises InvalidInput for a policy that does
    not exist or a value out of bounds, and StoreUnavailable where the store gave no answer.
    """

    policies: Mapping[str, Policy]

    def __init__(self, store: Store, policies: Mapping[str, Policy], keyring: Keyring, metrics: Metrics) -> None:
        self.policies = MappingProxyType(dict(policies))
        self._store = store
        self._keyring = keyring
        self._metrics = metrics

    async def take(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Take `cost` units from every limit of the policy, or none from any; a cost of 0 only looks."""
        decisions = await self._take([self._asked(Take(policy=policy, key=key, cost=cost))])
        return decisions[0]

    async def take_batch(self, takes: Sequence[Take]) -> list[Decision]:
        """Decide up to 256 takes in one round trip, each on its own, in order: equal ones see each other."""
        if len(takes) > TAKES_MAX:
            raise InvalidInput("takes", len(takes), f"send at most {TAKES_MAX} takes at a time")
        asked = [self._asked(take, f"takes[{i}].") for i, take in enumerate(takes)]
        return await self._take(asked) if asked else []

    async def peek(self, policy: str, key: str, cost: int | None = None) -> Decision:
        """Tell what `take` would decide, and change nothing."""
        asked = self._asked(Take(policy=policy, key=key, cost=cost))
        reply = await self._store.run(
            "limits/peek", [asked.state], [asked.cost, asked.policy.algorithm, *_numbers(asked.policy)]
        )
        return self._decisions([asked], reply)[0]

    async def reset(self, policy: str, key: str) -> bool:
        """Forget what the subject took under the policy; False where there was nothing."""
        asked = self._asked(Take(policy=policy, key=key))
        reply = await self._store.run("limits/reset", [asked.state], [])
        return reply[0] == 1

    async def _take(self, asked: Sequence[_Asked]) -> list[Decision]:
        numbers = {policy: i for i, policy in enumerate(dict.fromkeys(one.policy for one in asked), 1)}
        args: list[Argument] = [len(numbers)]
        for policy in numbers:
            args += [policy.algorithm, len(policy.limits), *_numbers(policy)]
        for one in asked:
            args += [numbers[one.policy], one.cost]
        try:
            reply = await self._store.run("limits/take", [one.state for one in asked], args)
        except StoreUnavailable:
            for one in asked:
                self._metrics.decision(one.policy.name, "unavailable")
            raise
        decisions = self._decisions(asked, reply)
        for decision in decisions:
            self._metrics.decision(decision.policy, "allowed" if decision.allowed else "refused")
        return decisions

    def _asked(self, take: Take, where: str = "") -> _Asked:
        policy = self.policies.get(take.policy)
        if policy is None:
            raise InvalidInput(f"{where}policy", take.policy, _known(take.policy, self.policies), kind="unknown-policy")
        if not 1 <= len(take.key) <= KEY_CHARACTERS_MAX:
            raise InvalidInput(f"{where}key", _size(take.key), f"give 1 to {KEY_CHARACTERS_MAX} characters")
        cost = policy.cost if take.cost is None else take.cost
        if type(cost) is not int or not 0 <= cost <= UNITS_MAX:
            raise InvalidInput(f"{where}cost", cost, f"give a whole number from 0 to {UNITS_MAX:,}")
        return _Asked(take=take, policy=policy, state=self._state(policy, take.key, where), cost=cost)

    def _state(self, policy: Policy, key: str, where: str) -> str:
        braced = _BRACED.search(key)
        try:
            digest = self._keyring.digest(_LABEL, key)
            tag = digest if braced is None else self._keyring.digest(_LABEL, braced[1])
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{where}key", _size(key), "send text that UTF-8 can encode") from error
        return keys.rate(tag, policy.name, None if braced is None else digest)

    def _decisions(self, asked: Sequence[_Asked], reply: Sequence[int]) -> list[Decision]:
        numbers = iter(reply)
        for kind in ("foreign", "clock-ahead"):
            for _ in range(next(numbers)):
                self._metrics.discarded_state(kind)
        return [_decision(one, numbers) for one in asked]


def _decision(asked: _Asked, numbers: Iterator[int]) -> Decision:
    limits = asked.policy.limits
    refused_by, retry_after_ms = next(numbers), next(numbers)
    return Decision(
        allowed=refused_by == 0,
        policy=asked.policy.name,
        key=asked.take.key,
        cost=asked.cost,
        limits=tuple(
            LimitState(
                limit=limit.units,
                window_ms=limit.window_ms,
                remaining=next(numbers),
                reset_after_ms=next(numbers),
            )
            for limit in limits
        ),
        retry_after_ms=retry_after_ms if refused_by and retry_after_ms >= 0 else None,
        refused_by=limits[refused_by - 1].text if refused_by else None,
        reason=_reason(refused_by, retry_after_ms),
    )


def _reason(refused_by: int, retry_after_ms: int) -> Reason:
    if refused_by == 0:
        return "within-limits"
    return "limit-reached" if retry_after_ms >= 0 else "cost-above-limit"


def _numbers(policy: Policy) -> list[int]:
    return [number for one in policy.limits for number in (one.units, one.window_ms, one.resolution)]


def _size(key: str) -> str:
    """Stand for a key in messages, which may be logged: a key can be a name or an address."""
    return f"{len(key)} characters"


def _known(name: str, policies: Mapping[str, Policy]) -> str:
    alike = get_close_matches(name[:NAME_CHARACTERS_MAX], policies, n=1)
    known = ", ".join(sorted(policies))
    return f"did you mean {alike[0]!r}? Known are {known}" if alike else f"known are {known}"
