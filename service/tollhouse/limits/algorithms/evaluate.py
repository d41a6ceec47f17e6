"""Evaluates all limits of a policy and the holds of a key; the scripts in `lua/limits/` are the twins.

Two things make it more than a loop over the limits.

A stored time may be ahead of the clock, because the clock stepped back. A counter up to a minute ahead stays as it is
until the clock has caught up, so no units are given away. A counter or a hold further ahead was written by a wrong
clock: it is ignored until the clock comes within a minute of it.

A hold counts as taken from every window. It ends when it is settled, or by itself: the units of a holder that crashed
come back. `settle` charges what was needed at that moment, even above the estimate or a limit; an expired hold charges
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX, Counter, Hold, SubjectState
from tollhouse.limits.algorithms.registry import RULES
from tollhouse.limits.policy.policy import Limit, Policy

SPARE_MS: Final = 1_000
"""How much longer a state is kept than it can refuse, so that an expiry never changes a decision."""
LIFETIME_MS_MAX: Final = 10**14 - 1
"""Lua writes 14 digits of a number; only a damaged state asks for more."""
HOLDS_MAX: Final = 128
"""How many live holds one key may have under one policy."""
FULL: Final = -1
"""The value of `Verdict.refused_by` if the key has `HOLDS_MAX` holds, and no limit refuses."""


class LimitStatus(Struct, frozen=True, kw_only=True):
    """The units that remain of one limit, and the time until it is fully restored."""

    remaining: int
    reset_after_ms: int


class Verdict(Struct, frozen=True, kw_only=True):
    """The verdict of all limits of a policy; `refused_by` is the position of the limit that refuses longest.

    `retry_after_ms` is None if the cost is admitted, and if it is above a limit and never will be.
    """

    refused_by: int | None
    retry_after_ms: int | None
    statuses: tuple[LimitStatus, ...]

    @property
    def allowed(self) -> bool:
        """Whether every limit admits the cost."""
        return self.refused_by is None


def take(policy: Policy, state: SubjectState, cost: int, now_ms: int) -> tuple[Verdict, SubjectState]:
    """Charge `cost` units to every limit; a refusal returns the state unchanged, and so does a cost of 0."""
    verdict = peek(policy, state, cost, now_ms)
    if not verdict.allowed or cost == 0:
        return verdict, state
    after = charge(policy, state, cost, now_ms, live_holds(state, now_ms))
    return replace(verdict, statuses=limit_statuses(policy, after, now_ms)), after


def take_up_to(policy: Policy, state: SubjectState, most: int, now_ms: int) -> tuple[int, Verdict, SubjectState]:
    """Charge as many units as fit, at most `most`, and return their number; the verdict refuses if none fits."""
    verdict = peek(policy, state, min(most, 1), now_ms)
    granted = min(most, *(status.remaining for status in verdict.statuses)) if verdict.allowed else 0
    if granted == 0:
        return 0, verdict, state
    return granted, *take(policy, state, granted, now_ms)


def peek(policy: Policy, state: SubjectState, cost: int, now_ms: int) -> Verdict:
    """Return what `take` would decide, with the limits as they are without it."""
    refused_by, retry_after_ms = _refusal(policy, state, cost, now_ms)
    return Verdict(refused_by=refused_by, retry_after_ms=retry_after_ms, statuses=limit_statuses(policy, state, now_ms))


def refund(policy: Policy, state: SubjectState, units: int, now_ms: int, age_ms: int = 0) -> tuple[int, SubjectState]:
    """Return up to `units`, taken `age_ms` ago, to every limit; return the most units that a limit got back.

    The oldest go first: the units that stay counted are newer than those that were really taken. A limit that has
    released the units by itself gets none back, for what it counts now are the units of others.
    """
    rules, before = RULES[policy.algorithm], current_counters(policy, state, now_ms)
    after = {
        limit: rules.refund(limit, counter, units) if _counts(policy, limit, now_ms - age_ms, now_ms) else counter
        for limit, counter in before.items()
    }
    refunded = max(before[limit].units - after[limit].units for limit in policy.limits)
    if refunded == 0:
        return 0, state
    return refunded, _state(policy, after, live_holds(state, now_ms))


def reserve(policy: Policy, state: SubjectState, hold: Hold, now_ms: int) -> tuple[Verdict, SubjectState]:
    """Set the units of a hold aside; a refusal returns the state unchanged.

    A hold that exists already is not added again, so the call is idempotent.
    """
    live = live_holds(state, now_ms)
    if any(one.name == hold.name for one in live):
        return peek(policy, state, 0, now_ms), state
    verdict = peek(policy, state, hold.units, now_ms)
    if len(live) >= HOLDS_MAX and (verdict.allowed or verdict.retry_after_ms is not None):
        verdict = _full(policy, state, hold, now_ms)
    if not verdict.allowed:
        return verdict, state
    after = charge(policy, state, 0, now_ms, [*live, hold])
    return peek(policy, after, 0, now_ms), after


def settle(policy: Policy, state: SubjectState, name: str, actual: int, now_ms: int) -> tuple[bool, SubjectState]:
    """End a hold and charge `actual` units instead; return False, and the state unchanged, if it is unknown or over."""
    if not any(one.name == name and one.ends_ms > now_ms for one in state.holds):
        return False, state
    others = [one for one in live_holds(state, now_ms) if one.name != name]
    return True, charge(policy, state, actual, now_ms, others)


def limit_statuses(policy: Policy, state: SubjectState, now_ms: int) -> tuple[LimitStatus, ...]:
    """Return the status of each limit."""
    return tuple(_limit_status(policy, limit, state, now_ms) for limit in policy.limits)


def lifetime_ms(policy: Policy, state: SubjectState, now_ms: int) -> int:
    """Return how long to keep a state that was changed at `now_ms`; for gcra also one that refuses.

    Only gcra restores units by the limit, so only there a limit that was lowered needs the state for longer than when
    it was stored. The bytes of a state that refuses stay as they are.
    """
    needed_ms = max(status.reset_after_ms for status in limit_statuses(policy, state, now_ms)) + SPARE_MS
    return min(needed_ms, LIFETIME_MS_MAX)


def wait(policy: Policy, state: SubjectState, cost: int, now_ms: int, least_ms: int = 0) -> tuple[int | None, int]:
    """Return the limit that refuses longest, and the first wait from `least_ms` on after which all admit the cost.

    The cost must not be above a limit. The wait is a fixed point, because a later moment can add to what counts: what
    is too far ahead of the clock now is no longer too far ahead then. For example, now is 0 s, limit A admits at 40 s,
    and limit B, a log of one minute, has a full counter at 95 s, which is ignored now. At 40 s that counter is less
    than a minute ahead, so B admits only at 155 s. A admits then as well, so the wait is 155 s.
    """
    refused_by, wait_ms = None, least_ms
    while (refusal := _first_refusal(policy, state, cost, now_ms, wait_ms)) is not None:
        refused_by, wait_ms = refusal
    return refused_by, wait_ms


def charge(policy: Policy, state: SubjectState, cost: int, now_ms: int, holds: Sequence[Hold]) -> SubjectState:
    """Return the state with `cost` units more in every window, whether they fit or not, and with these holds."""
    counters = current_counters(policy, state, now_ms)
    charged = {limit: replace(counter, current=counter.current + cost) for limit, counter in counters.items()}
    return _state(policy, charged, holds)


def current_counters(policy: Policy, state: SubjectState, now_ms: int) -> dict[Limit, Counter]:
    """Return the counter of each limit, advanced to now; one that is further ahead stays as it is."""
    return {limit: _current(policy, limit, state, now_ms) for limit in policy.limits}


def live_holds(state: SubjectState, moment_ms: int) -> tuple[Hold, ...]:
    """Return the holds that count at a moment: neither over, nor too far ahead."""
    return tuple(one for one in state.holds if one.ends_ms > moment_ms and one.made_ms - moment_ms <= AHEAD_MS_MAX)


def _refusal(policy: Policy, state: SubjectState, cost: int, now_ms: int) -> tuple[int | None, int | None]:
    if cost == 0:
        return None, None
    for position, limit in enumerate(policy.limits):
        if cost > limit.capacity:
            return position, None
    refused_by, wait_ms = wait(policy, state, cost, now_ms)
    return refused_by, None if refused_by is None else wait_ms


def _full(policy: Policy, state: SubjectState, hold: Hold, now_ms: int) -> Verdict:
    first_ms = min(one.ends_ms for one in live_holds(state, now_ms)) - now_ms
    _, wait_ms = wait(policy, state, hold.units, now_ms, first_ms)
    return Verdict(refused_by=FULL, retry_after_ms=wait_ms, statuses=limit_statuses(policy, state, now_ms))


def _first_refusal(policy: Policy, state: SubjectState, cost: int, now_ms: int, wait_ms: int) -> tuple[int, int] | None:
    """Return the first limit that refuses the cost after `wait_ms`, and the wait that it needs; None if none does."""
    for position, limit in enumerate(policy.limits):
        admits_after_ms = _admits_at_ms(policy, limit, state, cost, now_ms + wait_ms) - now_ms
        if admits_after_ms > wait_ms:
            return position, admits_after_ms
    return None


def _admits_at_ms(policy: Policy, limit: Limit, state: SubjectState, cost: int, moment_ms: int) -> int:
    """Return when the limit first admits the cost, by what counts at `moment_ms`; not after it if it does by then.

    Holds end one after the other, and the counter releases its units independently. The cost fits once enough holds
    have ended that the rest of them and the counter leave room, so the answer is the best of one candidate for each
    number of ended holds. For example, of a limit of 10, 4 units are counted until 50 s, and holds of 3 and 2 units end
    at 20 s and 30 s. A cost of 5 fits at 50 s beside both holds or one of them, and at 30 s without any.
    """
    counter = _counter(policy, limit, state, moment_ms) or Counter(index=0)
    live = sorted(live_holds(state, moment_ms), key=lambda hold: hold.ends_ms)
    held, candidates = sum(hold.units for hold in live), list[int]()
    for from_ms, ended in [(0, 0), *((hold.ends_ms, hold.units) for hold in live)]:
        held -= ended
        if held + cost <= limit.capacity:
            candidates.append(max(from_ms, RULES[policy.algorithm].admits_at_ms(limit, counter, held + cost)))
    return min(candidates)


def _limit_status(policy: Policy, limit: Limit, state: SubjectState, now_ms: int) -> LimitStatus:
    rules, counter = RULES[policy.algorithm], _current(policy, limit, state, now_ms)
    live = live_holds(state, now_ms)
    usage = rules.usage(limit, counter, now_ms) + sum(hold.units for hold in live)
    restored_ms = max([now_ms, rules.admits_at_ms(limit, counter, limit.capacity), *(hold.ends_ms for hold in live)])
    return LimitStatus(remaining=max(limit.capacity - usage, 0), reset_after_ms=restored_ms - now_ms)


def _counts(policy: Policy, limit: Limit, taken_ms: int, now_ms: int) -> bool:
    """Return whether units that were counted at `taken_ms` may count still."""
    rules = RULES[policy.algorithm]
    slots = rules.slots_per_window(limit)
    return now_ms * slots // limit.window_ms - taken_ms * slots // limit.window_ms <= rules.lasts(limit)


def _current(policy: Policy, limit: Limit, state: SubjectState, now_ms: int) -> Counter:
    """Return the counter advanced to the present index, without what is released by then."""
    rules = RULES[policy.algorithm]
    now_index = now_ms * rules.slots_per_window(limit) // limit.window_ms
    counter = _counter(policy, limit, state, now_ms)
    if counter is None:
        return Counter(index=now_index)
    return counter if counter.index >= now_index else rules.advance(limit, counter, now_index)


def _counter(policy: Policy, limit: Limit, state: SubjectState, moment_ms: int) -> Counter | None:
    """Return the counter of the limit; None if there is none, or if it is too far ahead."""
    counter = state.counters.get(limit.counter_id(policy.algorithm))
    if counter is None:
        return None
    begins_ms = -(-counter.index * limit.window_ms // RULES[policy.algorithm].slots_per_window(limit))
    return counter if begins_ms - moment_ms <= AHEAD_MS_MAX else None


def _state(policy: Policy, counters: dict[Limit, Counter], holds: Sequence[Hold]) -> SubjectState:
    counted = {limit.counter_id(policy.algorithm): one for limit, one in counters.items() if one.units}
    return SubjectState(counters=counted, holds=tuple(holds))
