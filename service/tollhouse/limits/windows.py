"""The rules of `sliding-window`, as pure functions; `lua/limits/take.lua` is their twin on the server.

A window is cut into n sub-buckets (its resolution); sub-bucket i begins at ceil(i * window_ms / n).
The present one and the n before it count, each of them whole: these n + 1 reach back at least one window
from any moment, so that no trailing window ever holds more than the limit. Sub-bucket i is released
when i + n + 1 begins: at most ceil(window_ms / n) later than an exact log would release it.

A clock that steps back never gives units away: a sub-bucket that begins up to a minute ahead of the
clock stays the present one until the clock has caught up. One further ahead is not believed: it counts
as nothing, until the clock comes within a minute of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.limits.policy import Limit

AHEAD_MS_MAX: Final = 60_000


class Entry(Struct, frozen=True, kw_only=True):
    """What one window has counted: `current` units in the newest sub-bucket, which is `index`.

    `older` holds the index and the units of those before it, oldest first; `total` is the sum of all.
    """

    index: int
    current: int = 0
    total: int = 0
    older: tuple[tuple[int, int], ...] = ()


State = Mapping[tuple[int, int], Entry]
"""The entries of one subject, by window and resolution: another number of units keeps what was counted."""


class Standing(Struct, frozen=True, kw_only=True):
    """Where one limit stands after a decision; `reset_after_ms` is the time until it is wholly restored."""

    remaining: int
    reset_after_ms: int


class Verdict(Struct, frozen=True, kw_only=True):
    """A decision over all limits of a policy; `refused_by` is the position of the one that refuses longest.

    `retry_after_ms` is None where the cost is admitted, and where it is above a limit and never will be.
    """

    refused_by: int | None
    retry_after_ms: int | None
    standings: tuple[Standing, ...]

    @property
    def allowed(self) -> bool:
        """Tell whether every limit admits the cost."""
        return self.refused_by is None


def take(limits: Sequence[Limit], state: State, cost: int, now_ms: int) -> tuple[Verdict, State]:
    """Charge `cost` units to every limit, or refuse and give the state back as it is."""
    verdict = peek(limits, state, cost, now_ms)
    if not verdict.allowed or cost == 0:
        return verdict, state
    charged = {_name(limit): _charged(_present(limit, state, now_ms), cost) for limit in limits}
    return replace(verdict, standings=_standings(limits, charged, now_ms)), charged


def peek(limits: Sequence[Limit], state: State, cost: int, now_ms: int) -> Verdict:
    """Tell what `take` would decide, and where the limits stand without it."""
    refused_by, retry_after_ms = _refusal(limits, state, cost, now_ms)
    standings = _standings(limits, state, now_ms)
    return Verdict(refused_by=refused_by, retry_after_ms=retry_after_ms, standings=standings)


def lifetime_ms(limits: Sequence[Limit], state: State, now_ms: int) -> int:
    """Tell how long a state that was charged at `now_ms` has to be kept, at most one sub-bucket too long."""
    return max(
        max(_begins_ms(limit, state[_name(limit)].index) - now_ms, 0) + _begins_ms(limit, limit.resolution + 1)
        for limit in limits
    )


def _refusal(limits: Sequence[Limit], state: State, cost: int, now_ms: int) -> tuple[int | None, int | None]:
    """Find the limit that refuses longest, and after how long every limit admits the cost.

    An entry that is not believed now may be believed by then, so all are asked until one wait fits them all.
    """
    for position, limit in enumerate(limits):
        if cost > limit.units:
            return position, None
    refused_by, wait_ms, settled = None, 0, False
    while not settled:
        settled = True
        for position, limit in enumerate(limits):
            entry = _believed(limit, state, now_ms + wait_ms)
            fits_after_ms = _fits_ms(limit, entry, cost) - now_ms
            if fits_after_ms > wait_ms:
                refused_by, wait_ms, settled = position, fits_after_ms, False
    return refused_by, None if refused_by is None else wait_ms


def _believed(limit: Limit, state: State, moment_ms: int) -> Entry | None:
    """Give the limit's entry, unless there is none or its newest sub-bucket is too far ahead."""
    entry = state.get(_name(limit))
    if entry is None or _begins_ms(limit, entry.index) - moment_ms > AHEAD_MS_MAX:
        return None
    return entry


def _present(limit: Limit, state: State, now_ms: int) -> Entry:
    """Give what counts now: the entry moved on to the present sub-bucket, without those that are released."""
    index = now_ms * limit.resolution // limit.window_ms
    entry = _believed(limit, state, now_ms)
    if entry is None:
        return Entry(index=index)
    if entry.index >= index:
        return entry
    older = tuple((i, units) for i, units in _oldest_first(entry) if i >= index - limit.resolution)
    return Entry(index=index, total=sum(units for _, units in older), older=older)


def _charged(entry: Entry, cost: int) -> Entry:
    return replace(entry, current=entry.current + cost, total=entry.total + cost)


def _standings(limits: Sequence[Limit], state: State, now_ms: int) -> tuple[Standing, ...]:
    return tuple(_standing(limit, _present(limit, state, now_ms), now_ms) for limit in limits)


def _standing(limit: Limit, entry: Entry, now_ms: int) -> Standing:
    return Standing(
        remaining=max(limit.units - entry.total, 0),
        reset_after_ms=max(_fits_ms(limit, entry, limit.units) - now_ms, 0),
    )


def _fits_ms(limit: Limit, entry: Entry | None, cost: int) -> int:
    """Give the moment from which `cost` more units fit, absent other takes; 0 where they fit already."""
    if entry is None or entry.total + cost <= limit.units:
        return 0
    excess = entry.total + cost - limit.units
    held = _oldest_first(entry)
    released = accumulate(units for _, units in held)
    index = next(i for (i, _), units in zip(held, released, strict=True) if units >= excess)
    return _begins_ms(limit, index + limit.resolution + 1)


def _oldest_first(entry: Entry) -> tuple[tuple[int, int], ...]:
    return (*entry.older, (entry.index, entry.current))


def _begins_ms(limit: Limit, index: int) -> int:
    return -(-index * limit.window_ms // limit.resolution)


def _name(limit: Limit) -> tuple[int, int]:
    return limit.window_ms, limit.resolution
