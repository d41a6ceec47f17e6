"""How many admissions fall into the fullest window of an exact log, whatever moment of its call each was decided at."""

from __future__ import annotations

from collections.abc import Iterable


def fullest(calls: Iterable[tuple[int, int]], window: int) -> int:
    """Return the most admissions that certainly fall into one window, which begins at some moment and excludes its end.

    A call was decided at some moment from its first to its second time. It is certainly in the window that begins at
    `start` if it began then or later, and had ended before `start + window`: if `end - window < start <= begin`. More
    than a limit are proof that the limit was broken; a call that took as long as the window itself proves nothing.
    """
    possible = [(begin, end) for begin, end in calls if end - begin < window]
    opening, closing = sorted(end - window for _, end in possible), sorted(begin for begin, _ in possible)
    most = opened = 0
    for closed, start in enumerate(closing):
        while opened < len(opening) and opening[opened] < start:
            opened += 1
        most = max(most, opened - closed)
    return most
