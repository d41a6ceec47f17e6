"""Refunds: which responses are charged, and how the units of the others are given back.

Units are taken before the application sees the request: checking after the response would admit a concurrent burst. So
a response that is not charged is refunded once it has started.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.limits.decision import Decision
from tollhouse.limits.limiter import Limiter

IsCharged = Callable[[int, Sequence[tuple[bytes, bytes]]], bool]
"""Returns True if a response with this status and these headers is charged."""
Charge = int | str | Sequence[int | str] | IsCharged
"""A status (`401`), a class of them (`"4xx"`), several of either, or a function of status and headers."""

_STATUSES: Final[Mapping[str, range]] = {
    **{str(status): range(status, status + 1) for status in range(100, 600)},
    **{f"{first}xx": range(first * 100, first * 100 + 100) for first in range(1, 6)},
}
_log = logging.getLogger("tollhouse.asgi")


def charge_predicate(given: Charge) -> IsCharged:
    """Return the function for a `charge`; raises ConfigurationError if it is neither a status nor a class of them."""
    if callable(given):
        return given
    listed = (given,) if isinstance(given, int | str) else given
    statuses = frozenset(status for one in listed for status in _statuses(one))
    return lambda status, _: status in statuses


async def refund(limiter: Limiter, taken: Sequence[Decision]) -> None:
    """Refund the units that the store counted; if the store is down the loss is logged, and they stay charged.

    Takes that no store counted (access list, outage) are skipped.
    """
    for decision in taken:
        if decision.reason != "within-limits" or decision.degraded or not decision.cost:
            continue
        try:
            await limiter.refund(decision.policy, decision.key, decision.cost)
        except StoreError as error:
            _log.warning("refund lost", extra={"policy": decision.policy, "reason": str(error)})


def _statuses(given: int | str) -> range:
    statuses = _STATUSES.get(str(given).lower())
    if statuses is None:
        raise ConfigurationError("charge", given, "give a status such as 401, or a class of them such as 4xx")
    return statuses
