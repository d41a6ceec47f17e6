"""What was lost, or came back: pure functions of a history and of what the last primary holds.

`held` names the keys and sessions that the server which the Sentinels name in the end has, read from it directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from tollhouse.drill.results.history import CHANGED_NOTHING, Call, Failure

_WRITES: Final = frozenset({"take", "create"})
"""What is there to be kept: takes on the shared key are counted apart, and the cache may forget."""


def acknowledged(calls: Iterable[Call], *, durable: bool) -> list[Call]:
    """Give the writes that were acknowledged, with or without the promise to outlive a failover.

    A session that somebody also tried to end does not tell anything, and is left out.
    """
    calls = list(calls)
    ended = {call.id for call in calls if call.operation == "revoke"}
    return [call for call in calls if _acknowledged(call) and bool(call.durable) is durable and call.id not in ended]


def lost(calls: Iterable[Call], held: AbstractSet[str], *, durable: bool) -> list[Call]:
    """Give the acknowledged writes that the last primary does not hold."""
    return [call for call in acknowledged(calls, durable=durable) if call.id not in held]


def span_ms(calls: Sequence[Call]) -> float:
    """Give the time from the first to the last of the acknowledgements; 0 for one or none."""
    ends = [call.ended_ms for call in calls]
    return max(ends) - min(ends) if ends else 0.0


def deposed(calls: Iterable[Call], held: AbstractSet[str], promoted_ms: float | None) -> int:
    """Count the acknowledgements that were accepted after the promotion from a server that was no primary any more.

    They are known by their loss: what the new primary acknowledged, it has.
    """
    if promoted_ms is None:
        return 0
    calls = list(calls)
    gone = [*lost(calls, held, durable=False), *lost(calls, held, durable=True)]
    return sum(call.ended_ms > promoted_ms for call in gone)


def resurrected(calls: Iterable[Call], held: AbstractSet[str], *, durable: bool) -> int:
    """Count the sessions that were revoked, with or without a promise, and accepted by a verify that began later.

    The last verify is the look at the last primary.
    """
    calls = list(calls)
    revoked: dict[str, float] = {}
    for call in calls:
        if call.operation == "revoke" and call.served and bool(call.durable) is durable:
            revoked.setdefault(call.id, call.ended_ms)
    alive = {call.id for call in calls if _accepted_after(call, revoked)}
    return len(alive | revoked.keys() & held)


def ghosts(calls: Iterable[Call], held: AbstractSet[str], *, failures: AbstractSet[Failure] = CHANGED_NOTHING) -> int:
    """Count the writes that failed in one of these ways and are there all the same."""
    return sum(call.operation in _WRITES and call.failure in failures and call.id in held for call in calls)


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
