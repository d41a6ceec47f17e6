"""Policies compiled for the scripts: what every call needs of a policy is computed once, when the policies are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.access_list import EVERY_KEY, AccessLists, compile_access_lists
from tollhouse.limits.policy.catalog import by_name
from tollhouse.limits.policy.policy import WINDOW_MS_MAX, Limit, Policy
from tollhouse.scripts import Argument, FixedArguments

TAKE: Final = "limits/take"
TAKE_ONE: Final = "limits/take_one"
TAKE_METERED: Final = "limits/take_metered"
_SLOTTED: Final = ("sliding-window", "fixed-window")
"""Algorithms whose takes are mostly in the slot of the take before: `TAKE_ONE` charges these in place."""
_METERED: Final = ("gcra", "sliding-window-counter")
"""Algorithms whose counts change every moment: `TAKE_METERED` writes these anew, if there is one limit."""


class CompiledPolicy(Struct, frozen=True, kw_only=True, eq=False):
    """A policy of one generation; objects of two generations are never equal, even if their values are.

    `arguments` are the algorithm and the limits as scripts take them; `batch_arguments` has the number of limits as
    well, for scripts that take several policies; `solo_arguments` are those of a take alone with the policy's `cost`,
    for `solo_script`.
    A cost above `capacity` never fits. `shadows` are the policies whose `shadow_of` names this one. `access_lists` is
    None if the policy has no list. `is_concurrency` says that it grants leases. `caches_refusals` says that a refusal
    may be repeated without a call: not if every take has to be counted. `leases_quota` says that this process may admit
    from units that it took in advance: not if a shadow has to count. `local_share` has the part of the limits that this
    process may admit while the store is down.
    """

    policy: Policy
    name: str
    cost: int
    arguments: tuple[Argument, ...]
    batch_arguments: tuple[Argument, ...]
    solo_script: str
    solo_arguments: FixedArguments
    limit_texts: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    capacity: int
    shadows: tuple[CompiledPolicy, ...]
    access_lists: AccessLists | None
    is_concurrency: bool
    caches_refusals: bool
    leases_quota: bool
    local_share: Policy

    def solo_call(self, cost: int) -> tuple[str, Sequence[Argument]]:
        """Return the script for a take of `cost` that is alone in its call, and the arguments."""
        fixed = self.solo_arguments
        if cost == self.cost:  # nearly all
            return self.solo_script, cast("Sequence[Argument]", fixed)
        if self.solo_script == TAKE:
            return TAKE, (*fixed.values[:-1], cost)
        return self.solo_script, (cost, *fixed.values[1:])


def compile_policies(
    policies: Mapping[str, Policy], instances: int, *, enabled: bool = True
) -> dict[str, CompiledPolicy]:
    """Validate policies as a set, and compile each for one of `instances` processes that share the limits.

    If they are not enabled, they allow every key. Raises InvalidInput if a policy is listed under another name, or if
    the policies contradict each other.
    """
    for name, policy in policies.items():
        if name != policy.name:
            raise InvalidInput(f"policies.{name}", policy.name, "list a policy under its own name")
    shadows: dict[str, list[CompiledPolicy]] = {}
    for policy in by_name(policies.values()).values():
        if policy.shadow_of is not None:
            shadows.setdefault(policy.shadow_of, []).append(_compile(policy, (), instances))
    compiled = {name: _compile(policy, tuple(shadows.get(name, ())), instances) for name, policy in policies.items()}
    if enabled:
        return compiled
    return {name: replace(policy, access_lists=EVERY_KEY, shadows=()) for name, policy in compiled.items()}


def _compile(policy: Policy, shadows: tuple[CompiledPolicy, ...], instances: int) -> CompiledPolicy:
    numbers = [
        number
        for limit in policy.limits
        for number in (limit.units, limit.window_ms, limit.parameter(policy.algorithm))
    ]
    solo_script, solo_values = _solo_call(policy, numbers)
    return CompiledPolicy(
        policy=policy,
        name=policy.name,
        cost=policy.cost,
        arguments=(policy.algorithm, *numbers),
        batch_arguments=(policy.algorithm, len(policy.limits), *numbers),
        solo_script=solo_script,
        solo_arguments=FixedArguments(solo_values),
        limit_texts=tuple(limit.text for limit in policy.limits),
        windows=tuple((limit.units, limit.window_ms) for limit in policy.limits),
        capacity=min(limit.capacity for limit in policy.limits),
        shadows=shadows,
        access_lists=compile_access_lists(policy),
        is_concurrency=policy.is_concurrency,
        caches_refusals=not (policy.shadow or shadows or policy.is_concurrency),
        leases_quota=policy.lease == "auto" and not (policy.shadow or shadows),
        local_share=replace(policy, limits=tuple(_limit_share(limit, instances) for limit in policy.limits)),
    )


def _solo_call(policy: Policy, numbers: Sequence[int]) -> tuple[str, tuple[str | int, ...]]:
    """Return the script for a take alone with the policy's cost, and the arguments."""
    if policy.algorithm in _METERED and len(policy.limits) == 1:
        head = f"TH1;{policy.algorithm}/{policy.limits[0].window_ms}="
        return TAKE_METERED, (policy.cost, head, *numbers)
    if policy.algorithm not in _SLOTTED:
        return TAKE, (1, policy.algorithm, len(policy.limits), *numbers, 1, policy.cost)
    is_fixed = policy.algorithm == "fixed-window"
    names = [
        f"fixed-window/{limit.window_ms // 1_000}=" if is_fixed else f"{limit.window_ms // 1_000}/{limit.resolution}="
        for limit in policy.limits
    ]
    return TAKE_ONE, (policy.cost, "TH2;" + "".join(names), *numbers)


def _limit_share(limit: Limit, instances: int) -> Limit:
    """Divide a limit so that all processes together admit what it says; each admits at least one unit."""
    units = max(limit.units // instances, 1)
    if limit.burst is None:
        return replace(limit, units=units)
    burst_max = units * WINDOW_MS_MAX // limit.window_ms
    return replace(limit, units=units, burst=max(min(limit.burst // instances, burst_max), 1))
