"""Writes that were lost, and sessions that came back: pure functions of a history and of what the last primary holds.

`surviving` are the keys and sessions found on the server that the Sentinels name in the end, read from it directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from tollhouse.drill.results.history import CHANGED_NOTHING, Call, Failure

_WRITES: Final = frozenset({"take", "create"})
"""The writes that must not be lost: takes on the shared key are counted apart, and the cache may evict."""


def acknowledged(calls: Iterable[Call], *, durable: bool) -> list[Call]:
    """Return the acknowledged writes whose reply was durable, or those whose reply was not.

    A session with an attempt to revoke it is left out: whether it is there proves nothing.
    """
    calls = list(calls)
    ended = {call.id for call in calls if call.operation == "revoke"}
    return [call for call in calls if _acknowledged(call) and bool(call.durable) is durable and call.id not in ended]


def lost(calls: Iterable[Call], surviving: AbstractSet[str], *, durable: bool) -> list[Call]:
    """Return the acknowledged writes that the last primary does not hold."""
    return [call for call in acknowledged(calls, durable=durable) if call.id not in surviving]


def span_ms(calls: Sequence[Call]) -> float:
    """Return the time from the first to the last acknowledgement; 0 for one or none."""
    ends = [call.ended_ms for call in calls]
    return max(ends) - min(ends) if ends else 0.0


def deposed(calls: Iterable[Call], surviving: AbstractSet[str], promoted_ms: float | None) -> int:
    """Count the acknowledgements that came after the promotion, from the server that was primary before.

    They are the writes that are lost: what the new primary acknowledged, it has.
    """
    if promoted_ms is None:
        return 0
    calls = list(calls)
    gone = [*lost(calls, surviving, durable=False), *lost(calls, surviving, durable=True)]
    return sum(call.ended_ms > promoted_ms for call in gone)


def resurrected(calls: Iterable[Call], surviving: AbstractSet[str], *, durable: bool) -> int:
    """Count the sessions that were accepted by a verify that began after their revocation, durable or not.

    The survivors on the last primary count as a last verify.
    """
    calls = list(calls)
    revoked: dict[str, float] = {}
    for call in calls:
        if call.operation == "revoke" and call.served and bool(call.durable) is durable:
            revoked.setdefault(call.id, call.ended_ms)
    alive = {call.id for call in calls if _accepted_after(call, revoked)}
    return len(alive | revoked.keys() & surviving)


def ghosts(
    calls: Iterable[Call], surviving: AbstractSet[str], *, failures: AbstractSet[Failure] = CHANGED_NOTHING
) -> int:
    """Count the writes that failed in one of these ways and are on the last primary nevertheless."""
    return sum(call.operation in _WRITES and call.failure in failures and call.id in surviving for call in calls)


def foreign(calls: Iterable[Call]) -> int:
    """Count the replies that belonged to another call."""
    return sum(call.foreign for call in calls)


def _acknowledged(call: Call) -> bool:
    return call.operation in _WRITES and call.served and call.accepted


def _accepted_after(call: Call, revoked: dict[str, float]) -> bool:
    return (
        call.operation == "verify"
        and call.served
        and call.accepted
        and call.began_ms > revoked.get(call.id, float("inf"))
    )
