"""How much a shared limit admitted: pure functions of the takes on its key, and of what the last primary holds.

The shared key does not tell takes apart. Each take therefore leaves a trace on a key of its own, in the same call of
the same script, which shows whether the last primary has that take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from tollhouse.drill.results.history import Call


class SharedLimit(Struct, frozen=True, kw_only=True):
    """The limit on the shared key: so many takes in a window of `window_ms`."""

    limit: int
    window_ms: int


class Admission(Struct, frozen=True, kw_only=True):
    """The takes that were admitted on the shared key, by the name of their measure.

    `hot_lost` were acknowledged by a store and are gone; `hot_degraded` were admitted by the outage rule, which does
    not know what other processes and the store admitted. `over_admission` is how far the worst window exceeded the
    limit for certain, and `over_admission_unexplained` how far it did without those two.
    """

    hot_admitted: int
    hot_lost: int
    hot_degraded: int
    over_admission: int
    over_admission_unexplained: int


def count_admissions(calls: Iterable[Call], surviving: AbstractSet[str], limit: SharedLimit) -> Admission:
    """Count the admitted takes and compare them with the limit; `surviving` are the traces on the last primary."""
    admitted = [call for call in calls if call.operation == "hot" and call.failure is None and call.accepted]
    by_store = [call for call in admitted if not call.degraded]
    kept = [call for call in by_store if call.id in surviving]
    return Admission(
        hot_admitted=len(admitted),
        hot_lost=len(by_store) - len(kept),
        hot_degraded=len(admitted) - len(by_store),
        over_admission=_excess(admitted, limit),
        over_admission_unexplained=_excess(kept, limit),
    )


def _excess(calls: Sequence[Call], limit: SharedLimit) -> int:
    """Return by how many takes the worst window exceeded the limit for certain.

    A take was decided at an unknown moment between its beginning and its end. It counts in a window that holds both.
    """
    ordered = sorted(calls, key=lambda call: call.began_ms)
    counts = [
        sum(call.ended_ms <= first.began_ms + limit.window_ms for call in ordered[number:])
        for number, first in enumerate(ordered)
    ]
    return max(max(counts, default=0) - limit.limit, 0)
