"""Refunds: which responses are charged, and how the units of the others are given back.

Units are taken before the application sees the request: checking after the response would admit a concurrent burst. So
a response that is not charged is refunded once it has started. `charge` says by status and headers which responses are
charged; without it all are, but for one: if the response is a refusal by one limit, the units that others took for the
same request are given back. That is a refund, not one script with the refusal: for a moment these units are missed, and
another client may be refused. None is admitted too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from tollhouse.errors import ConfigurationError
from tollhouse.limits.decision import Decision
from tollhouse.limits.limiter import Limiter
from tollhouse.suggest import one_of

IsCharged = Callable[[int, Sequence[tuple[bytes, bytes]]], bool]
"""Returns True if a response with this status and these headers is charged."""
Charge = int | str | Sequence[int | str] | IsCharged
"""A status (`401`), a class of them (`"4xx"`), several of either, or a function of status and headers."""
Charged = tuple[Limiter, Sequence[Decision], IsCharged | None]
"""Takes that were charged for a request, their limiter, and the function of `charge` that settles them, if any."""

_STATUSES: Final[Mapping[str, range]] = {
    **{str(status): range(status, status + 1) for status in range(100, 600)},
    **{f"{first}xx": range(first * 100, first * 100 + 100) for first in range(1, 6)},
}
_CLASSES: Final = tuple(word for word in _STATUSES if word.endswith("xx"))


def charge_predicate(given: Charge) -> IsCharged:
    """Return the function for a `charge`; raises ConfigurationError if it is neither a status nor a class of them."""
    if callable(given):
        return given
    listed = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    statuses = frozenset(status for one in listed for status in _statuses(one))
    return lambda status, _: status in statuses


def start_refunds(
    charges: Iterable[Charged],
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    is_refusal: bool,
    age_ms: int,
) -> list[asyncio.Task[None]]:
    """Start to refund what the response is not charged for; each refund is bounded and goes on by itself.

    `age_ms` is how long ago the request began. A slow request gets nothing back from a window that has passed since.
    """
    started: list[asyncio.Task[None] | None] = []
    for limiter, decisions, is_charged in charges:
        if not is_refusal if is_charged is None else is_charged(status, headers):
            continue
        start = limiter.start_undo if is_refusal else limiter.start_refund
        started += [start(decision, age_ms=age_ms) for decision in decisions]
    return [task for task in started if task is not None]


def _statuses(given: int | str) -> range:
    statuses = _STATUSES.get(str(given).lower())
    if statuses is None:
        raise ConfigurationError("charge", given, f"{one_of(given, _CLASSES)}; or give a status such as 401")
    return statuses
