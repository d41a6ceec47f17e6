"""Asks a limiter why a key is refused, or is not, and what another limit would decide; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from tollhouse.limits.inspect.explain import Explanation, PeekResult, explain, in_force, shadows_of, under
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy

Make = Callable[[Mapping[str, Policy]], Limiter]
"""Makes a limiter of other policies over the same store and keys."""


async def examine(
    make: Make,
    policies: Mapping[str, Policy],
    name: str,
    key: str,
    cost: int | None,
    *,
    clock: Callable[[], datetime],
    limit: str | None = None,
    algorithm: str | None = None,
) -> Explanation:
    """Explain what a take of `key` would find, and, where `limit` or `algorithm` is given, what it would under those.

    `clock` gives the local time. The windows are looked at one after the other. Raises InvalidInput for what cannot
    be asked, and StoreUnavailable where the store does not answer.
    """
    await make(policies).peek(name, key, cost)  # refuses what cannot be asked, such as a policy that is not there
    policy = policies[name]

    async def found(asked: Policy) -> PeekResult:
        decision = await make({asked.name: asked}).peek(asked.name, key, cost)
        return PeekResult(policy=asked, decision=decision, at=clock())

    other = None
    if limit is not None or algorithm is not None:
        other = await found(under(policy, parse_policy(name, limit or policy.text, algorithm or policy.algorithm)))
    return explain(
        policy,
        await found(in_force(policy)),
        tuple([await found(in_force(one)) for one in shadows_of(policies, name)]),
        other,
    )
