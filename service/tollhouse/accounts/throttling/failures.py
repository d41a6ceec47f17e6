"""Failures in a row of one account or device: how long the next attempt has to wait, and when they are forgotten.

Time is an argument, in milliseconds. `lua/limits/` has the same rules for what is stored.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace


class FailureRule(Struct, frozen=True, kw_only=True):
    """The `free`-th failure begins a wait of `wait_ms`, each one after it twice as long, up to `wait_max_ms`.

    A wait begins anew after `memory_ms` without a failure. At `row_max` failures in a row every attempt is refused,
    until a success ends the row, or `kept_ms` have passed.
    """

    free: int
    wait_ms: int
    wait_max_ms: int
    memory_ms: int
    row_max: int
    kept_ms: int


class Failures(Struct, frozen=True, kw_only=True):
    """Failures since the last success: `recent` ones count for the wait, all `in_a_row` for the end of the attempts.

    All are forgotten at `end_ms`, also if some are uncounted until then.
    """

    recent: int = 0
    in_a_row: int = 0
    since_ms: int = 0
    at_ms: int = 0
    until_ms: int = 0
    end_ms: int = 0


_DOUBLINGS_MAX: Final = 40

NO_FAILURES: Final = Failures()


def current(failures: Failures, rule: FailureRule, now_ms: int) -> Failures:
    """Return the failures as they count now: none if they are forgotten, no recent ones if the last is long ago."""
    if now_ms >= failures.end_ms:
        return NO_FAILURES
    return replace(failures, recent=0) if now_ms - failures.at_ms >= rule.memory_ms else failures


def wait_of(failures: Failures, rule: FailureRule, now_ms: int) -> int:
    """Return how long the next attempt has to wait, 0 if it has not.

    A clock that stepped back lengthens no wait above the longest. The same is told when the row has its last failure:
    no time ends that, and an account that is guessed at must not look like another.
    """
    if failures.in_a_row >= rule.row_max:
        return rule.wait_max_ms
    return min(max(failures.until_ms - now_ms, 0), rule.wait_max_ms)


def charged(failures: Failures, rule: FailureRule, now_ms: int) -> Failures:
    """Return the failures with one more, which is counted before the outcome of the attempt is known."""
    recent, in_a_row = failures.recent + 1, failures.in_a_row + 1
    since_ms = failures.since_ms if failures.in_a_row > 0 else now_ms
    doublings = min(recent - rule.free, _DOUBLINGS_MAX)
    wait_ms = 0 if doublings < 0 else min(rule.wait_ms * 2**doublings, rule.wait_max_ms)
    until_ms = now_ms + wait_ms if wait_ms > 0 else 0
    end_ms = now_ms + lifetime_ms(in_a_row, rule)
    return Failures(recent=recent, in_a_row=in_a_row, since_ms=since_ms, at_ms=now_ms, until_ms=until_ms, end_ms=end_ms)


def lifetime_ms(in_a_row: int, rule: FailureRule) -> int:
    """Return how long after the last of so many failures all are forgotten: the longer, the more they are.

    Each failure keeps the count so much longer that the last of a row keeps it for `kept_ms`. So guesses at ever other
    names leave little behind, and one who pauses until a count is forgotten gains one guess in that time.
    """
    share_ms = rule.kept_ms * min(in_a_row, rule.row_max) // rule.row_max
    return max(share_ms, rule.memory_ms, rule.wait_max_ms)


def uncounted(failures: Failures, began_ms: int) -> Failures:
    """Return the failures without an attempt that began then and made no guess; its own wait is over with it.

    A row that began later does not have the attempt.
    """
    if failures.in_a_row == 0 or began_ms < failures.since_ms:
        return failures
    until_ms = 0 if failures.at_ms == began_ms else failures.until_ms
    recent, in_a_row = max(failures.recent - 1, 0), failures.in_a_row - 1
    if in_a_row == 0 and recent == 0:
        return NO_FAILURES
    return replace(failures, recent=recent, in_a_row=in_a_row, until_ms=until_ms)


def row_ended(failures: Failures) -> Failures:
    """Return the failures after a success that they did not count: the row ends, and the waits go on."""
    return replace(failures, in_a_row=0)
