"""What a warming came to: how many values were there, were loaded, were not stored, and failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from tollhouse.cache.reading.read_many import ManyOutcome
from tollhouse.cache.reading.result import CacheResult
from tollhouse.errors import ConfigurationError

FAILURES_MAX: Final = 100
"""How many failures a report names; it counts all."""

OnFailure = Callable[[int, BaseException], None]
"""Called with the position and the error of each item that failed."""


class WarmFailure(Struct, frozen=True, kw_only=True):
    """An item that could not be warmed; `position` counts the items from 0."""

    position: int
    error: BaseException


class WarmReport(Struct, frozen=True, kw_only=True):
    """The outcomes of a warming.

    `present` values were stored already, or were loaded by another caller meanwhile; `loaded` ones were loaded, and are
    stored unless they are above the bound or were invalidated meanwhile. `unstored` ones did not fail, and are not in
    the cache: the item has no value, or the store went down. `failures` names the first hundred of the `failed`.
    """

    present: int = 0
    loaded: int = 0
    unstored: int = 0
    failed: int = 0
    failures: tuple[WarmFailure, ...] = ()


class WarmTally:
    """Counts outcomes, and passes failures on."""

    def __init__(self, on_failure: OnFailure | None = None) -> None:
        self._on_failure = on_failure
        self._counts: Counter[str] = Counter()
        self._failures: list[WarmFailure] = []

    def note(self, position: int, outcome: ManyOutcome) -> None:
        """Count an outcome; raise the error of a wrong setup, which every other item would have as well."""
        if isinstance(outcome, ConfigurationError):
            raise outcome
        if not isinstance(outcome, BaseException):
            self._counts[_kind(outcome)] += 1
            return
        self._counts["failed"] += 1
        if len(self._failures) < FAILURES_MAX:
            self._failures.append(WarmFailure(position=position, error=outcome))
        if self._on_failure is not None:
            self._on_failure(position, outcome)

    def report(self) -> WarmReport:
        """Return what was counted."""
        failures = sorted(self._failures, key=lambda failure: failure.position)
        return WarmReport(**self._counts, failures=tuple(failures))


def _kind(outcome: CacheResult[Any] | None) -> str:
    if outcome is None:
        return "unstored"
    if outcome.status in ("HIT", "COALESCED"):
        return "present"
    return "loaded" if outcome.status == "MISS" else "unstored"
