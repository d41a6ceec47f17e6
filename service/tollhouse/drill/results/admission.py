"""How much was let through: pure functions of the takes on the one shared key, and of what the last primary holds.

Each of these takes left a trace under a key of its own, in the same call of the same script. So it is known of every
single one whether the last primary has it, although the shared key itself does not tell takes apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from tollhouse.drill.results.history import Call


class Window(Struct, frozen=True, kw_only=True):
    """How many takes on the shared key are allowed, and in which time."""

    limit: int
    window_ms: int


class Admission(Struct, frozen=True, kw_only=True):
    """What was admitted on the shared key.

    `lost` were acknowledged by a store and are gone; `degraded` were admitted by the rule for outages, which cannot
    know what other processes and the store let through. `over` is by how many takes some window surely exceeded the
    limit, and `unexplained` by how many it did without those two.
    """

    admitted: int
    lost: int
    degraded: int
    over: int
    unexplained: int


def admission(calls: Iterable[Call], held: AbstractSet[str], window: Window) -> Admission:
    """Count what was admitted, and hold it against the limit; `held` names the traces that the last primary has."""
    admitted = [call for call in calls if call.operation == "hot" and call.failure is None and call.accepted]
    by_store = [call for call in admitted if not call.degraded]
    kept = [call for call in by_store if call.id in held]
    return Admission(
        admitted=len(admitted),
        lost=len(by_store) - len(kept),
        degraded=len(admitted) - len(by_store),
        over=_excess(admitted, window),
        unexplained=_excess(kept, window),
    )


def _excess(calls: Sequence[Call], window: Window) -> int:
    """Give by how many takes some window surely exceeded the limit.

    A take was decided between its beginning and its end; only what lies in a window with both is counted in it.
    """
    ordered = sorted(calls, key=lambda call: call.began_ms)
    counts = [
        sum(call.ended_ms <= first.began_ms + window.window_ms for call in ordered[number:])
        for number, first in enumerate(ordered)
    ]
    return max(max(counts, default=0) - window.limit, 0)
