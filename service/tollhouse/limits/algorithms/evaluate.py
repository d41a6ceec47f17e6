"""Decides over all windows of a policy, by the rules of its algorithm; `lua/limits/` holds the twins on the server.

A clock that steps back never gives units away: an entry that lies up to a minute ahead of the clock stays the newest
until the clock has caught up. One further ahead is not believed: it counts as nothing, until the clock comes within a
minute of it.

What is held counts as taken from every window, until it is settled or its time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX, Counter, CounterId, Hold, SubjectState
from tollhouse.limits.algorithms.registry import RULES
from tollhouse.limits.policy.policy import Limit, Policy

SPARE_MS: Final = 1_000
"""How much longer a state is kept than it can refuse, so that no expiry ever decides."""


class LimitStatus(Struct, frozen=True, kw_only=True):
    """Where one limit stands after a decision; `reset_after_ms` is the time until it is wholly restored."""

    remaining: int
    reset_after_ms: int


class Verdict(Struct, frozen=True, kw_only=True):
    """A decision over all limits of a policy; `refused_by` is the position of the one that refuses longest.

    `retry_after_ms` is None where the cost is admitted, and where it is above a limit and never will be.
    """

    refused_by: int | None
    retry_after_ms: int | None
    statuses: tuple[LimitStatus, ...]

    @property
    def allowed(self) -> bool:
        """Tell whether every limit admits the cost."""
        return self.refused_by is None


def take(policy: Policy, state: SubjectState, cost: int, now_ms: int) -> tuple[Verdict, SubjectState]:
    """Charge `cost` units to every limit, or refuse and give the state back as it is; a cost of 0 only looks."""
    verdict = peek(policy, state, cost, now_ms)
    if not verdict.allowed or cost == 0:
        return verdict, state
    after = charge(policy, state, cost, now_ms, live_holds(state, now_ms))
    return replace(verdict, statuses=limit_statuses(policy, after, now_ms)), after


def take_up_to(policy: Policy, state: SubjectState, most: int, now_ms: int) -> tuple[int, Verdict, SubjectState]:
    """Charge as many units as fit, `most` at the most, and tell how many; refused is only where not one fits."""
    verdict = peek(policy, state, min(most, 1), now_ms)
    granted = min(most, *(standing.remaining for standing in verdict.statuses)) if verdict.allowed else 0
    if granted == 0:
        return 0, verdict, state
    return granted, *take(policy, state, granted, now_ms)


def peek(policy: Policy, state: SubjectState, cost: int, now_ms: int) -> Verdict:
    """Tell what `take` would decide, and where the limits stand without it."""
    refused_by, retry_after_ms = _refusal(policy, state, cost, now_ms)
    return Verdict(refused_by=refused_by, retry_after_ms=retry_after_ms, statuses=limit_statuses(policy, state, now_ms))


def refund(policy: Policy, state: SubjectState, units: int, now_ms: int) -> tuple[int, SubjectState]:
    """Give back up to `units`, those first that would be released first, and tell how many a limit got at most.

    The promises hold on: what was taken counts from then on as if it had been taken later, never earlier.
    """
    rules, before = RULES[policy.algorithm], _current_counters(policy, state, now_ms)
    after = {limit: rules.refund(limit, entry, units) for limit, entry in before.items()}
    refunded = max(_units(before[limit]) - _units(after[limit]) for limit in policy.limits)
    if refunded == 0:
        return 0, state
    return refunded, _state(policy, after, live_holds(state, now_ms))


def limit_statuses(policy: Policy, state: SubjectState, now_ms: int) -> tuple[LimitStatus, ...]:
    """Tell where each limit stands."""
    return tuple(_limit_status(policy, limit, state, now_ms) for limit in policy.limits)


def lifetime_ms(policy: Policy, state: SubjectState, now_ms: int) -> int:
    """Tell how long a state that was changed at `now_ms` is kept."""
    return max(standing.reset_after_ms for standing in limit_statuses(policy, state, now_ms)) + SPARE_MS


def wait(policy: Policy, state: SubjectState, cost: int, now_ms: int, least_ms: int = 0) -> tuple[int | None, int]:
    """Give the limit that refuses longest, and the first wait from `least_ms` on after which all admit the cost.

    No cost may be above a limit. What is not believed now may be believed by then, so the limits are asked again
    until one wait fits them all.
    """
    refused_by, wait_ms, settled = None, least_ms, False
    while not settled:
        settled = True
        for position, limit in enumerate(policy.limits):
            fits_after_ms = _admits_at_ms(policy, limit, state, cost, now_ms + wait_ms) - now_ms
            if fits_after_ms > wait_ms:
                refused_by, wait_ms, settled = position, fits_after_ms, False
                break
    return refused_by, wait_ms


def charge(policy: Policy, state: SubjectState, cost: int, now_ms: int, holds: Sequence[Hold]) -> SubjectState:
    """Give the state with `cost` units more in every window, whether they fit or not, and with these holds."""
    entries = _current_counters(policy, state, now_ms)
    return _state(policy, {limit: replace(one, current=one.current + cost) for limit, one in entries.items()}, holds)


def live_holds(state: SubjectState, moment_ms: int) -> tuple[Hold, ...]:
    """Give the holds that count at a moment: neither over, nor too far ahead to be believed."""
    return tuple(one for one in state.holds if one.ends_ms > moment_ms and one.made_ms - moment_ms <= AHEAD_MS_MAX)


def _refusal(policy: Policy, state: SubjectState, cost: int, now_ms: int) -> tuple[int | None, int | None]:
    if cost == 0:
        return None, None
    for position, limit in enumerate(policy.limits):
        if cost > limit.capacity:
            return position, None
    refused_by, wait_ms = wait(policy, state, cost, now_ms)
    return refused_by, None if refused_by is None else wait_ms


def _admits_at_ms(policy: Policy, limit: Limit, state: SubjectState, cost: int, moment_ms: int) -> int:
    """Give the moment from which the cost fits, by what is believed at `moment_ms`; none later where it fits then.

    What is held ends by and by: the cost fits once enough of it has ended and the rest fits beside what was taken.
    """
    entry = _counter(policy, limit, state, moment_ms) or Counter(index=0)
    live = sorted(live_holds(state, moment_ms), key=lambda hold: hold.ends_ms)
    held, from_ms, found = sum(hold.units for hold in live), 0, list[int]()
    for ends_ms, units in [*((hold.ends_ms, hold.units) for hold in live), (0, 0)]:
        if cost + held <= limit.capacity:
            found.append(max(from_ms, RULES[policy.algorithm].admits_at_ms(limit, entry, cost + held)))
        held, from_ms = held - units, ends_ms
    return min(found)


def _limit_status(policy: Policy, limit: Limit, state: SubjectState, now_ms: int) -> LimitStatus:
    rules, entry = RULES[policy.algorithm], _current(policy, limit, state, now_ms)
    live = live_holds(state, now_ms)
    counted = rules.usage(limit, entry, now_ms) + sum(hold.units for hold in live)
    whole_ms = max([now_ms, rules.admits_at_ms(limit, entry, limit.capacity), *(hold.ends_ms for hold in live)])
    return LimitStatus(remaining=max(limit.capacity - counted, 0), reset_after_ms=whole_ms - now_ms)


def _current_counters(policy: Policy, state: SubjectState, now_ms: int) -> dict[Limit, Counter]:
    return {limit: _current(policy, limit, state, now_ms) for limit in policy.limits}


def _current(policy: Policy, limit: Limit, state: SubjectState, now_ms: int) -> Counter:
    """Give what counts now: the entry brought to the present index, without what is released by then."""
    rules = RULES[policy.algorithm]
    index = now_ms * rules.slots_per_window(limit) // limit.window_ms
    entry = _counter(policy, limit, state, now_ms)
    if entry is None:
        return Counter(index=index)
    return entry if entry.index >= index else rules.advance(limit, entry, index)


def _counter(policy: Policy, limit: Limit, state: SubjectState, moment_ms: int) -> Counter | None:
    """Give the limit's entry, unless there is none or it is too far ahead."""
    entry = state.counters.get(_name(policy, limit))
    if entry is None:
        return None
    begins_ms = -(-entry.index * limit.window_ms // RULES[policy.algorithm].slots_per_window(limit))
    return entry if begins_ms - moment_ms <= AHEAD_MS_MAX else None


def _state(policy: Policy, entries: dict[Limit, Counter], holds: Sequence[Hold]) -> SubjectState:
    named = {_name(policy, limit): entry for limit, entry in entries.items() if _units(entry)}
    return SubjectState(counters=named, holds=tuple(holds))


def _units(entry: Counter) -> int:
    return entry.current + sum(units for _, units in entry.previous) + (entry.fraction > 0)


def _name(policy: Policy, limit: Limit) -> CounterId:
    return policy.algorithm, limit.window_ms, limit.resolution if policy.algorithm == "sliding-window" else 0
