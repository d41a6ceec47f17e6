"""Policies as the limiter works with them: what a call needs of one is computed once, when the policies are set."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.catalog import by_name
from tollhouse.limits.policy.policy import WINDOW_MS_MAX, Limit, Policy
from tollhouse.scripts import Argument


class CompiledPolicy(Struct, frozen=True, kw_only=True, eq=False):
    """A policy of one generation: another set of policies has other objects, whatever their values.

    `words` is how scripts are told its algorithm and limits, `counted_words` the same with the number of limits, for
    scripts that are told of several policies. No cost above `capacity` ever fits. `beside` are those that are taken
    from with it. `listed` tells whether it has an allow or deny list, `is_concurrency` whether it grants
    leases, and `remembered` whether a refusal may be repeated without asking: not if every take has to be counted.
    `share` is the part of its limits that one process may give out by itself.
    """

    policy: Policy
    name: str
    cost: int
    arguments: tuple[Argument, ...]
    batch_arguments: tuple[Argument, ...]
    limit_texts: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    capacity: int
    shadows: tuple[CompiledPolicy, ...]
    has_access_list: bool
    is_concurrency: bool
    caches_refusals: bool
    local_share: Policy


def compile_policies(policies: Mapping[str, Policy], instances: int) -> dict[str, CompiledPolicy]:
    """Check policies as a set, and prepare each for one of so many processes.

    Raises InvalidInput where they do not fit together.
    """
    for name, policy in policies.items():
        if name != policy.name:
            raise InvalidInput(f"policies.{name}", policy.name, "list a policy under its own name")
    candidates: dict[str, list[CompiledPolicy]] = {}
    for policy in by_name(policies.values()).values():
        if policy.shadow_of is not None:
            candidates.setdefault(policy.shadow_of, []).append(_compile(policy, (), instances))
    return {name: _compile(policy, tuple(candidates.get(name, ())), instances) for name, policy in policies.items()}


def _compile(policy: Policy, beside: tuple[CompiledPolicy, ...], instances: int) -> CompiledPolicy:
    numbers = [number for limit in policy.limits for number in (limit.units, limit.window_ms, _third(policy, limit))]
    return CompiledPolicy(
        policy=policy,
        name=policy.name,
        cost=policy.cost,
        arguments=(policy.algorithm, *numbers),
        batch_arguments=(policy.algorithm, len(policy.limits), *numbers),
        limit_texts=tuple(limit.text for limit in policy.limits),
        windows=tuple((limit.units, limit.window_ms) for limit in policy.limits),
        capacity=min(limit.capacity for limit in policy.limits),
        shadows=beside,
        has_access_list=bool(policy.allow or policy.deny),
        is_concurrency=policy.is_concurrency,
        caches_refusals=not (policy.shadow or beside or policy.is_concurrency),
        local_share=replace(policy, limits=tuple(_limit_share(limit, instances) for limit in policy.limits)),
    )


def _third(policy: Policy, limit: Limit) -> int:
    """Give what an algorithm has to know besides the limit and its window."""
    match policy.algorithm:
        case "sliding-window":
            return limit.resolution
        case "gcra":
            return limit.capacity
        case _:
            return 0


def _limit_share(limit: Limit, instances: int) -> Limit:
    """Divide a limit, so that all processes together admit what it says; each admits something."""
    units = max(limit.units // instances, 1)
    if limit.burst is None:
        return replace(limit, units=units)
    restored = units * WINDOW_MS_MAX // limit.window_ms
    return replace(limit, units=units, burst=max(min(limit.burst // instances, restored), 1))
