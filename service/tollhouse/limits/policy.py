"""Policies: how many units each window allows, checked once so that everything below can rely on it."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from msgspec import Struct

from tollhouse.errors import InvalidInput

Algorithm = Literal["sliding-window", "sliding-window-counter", "sliding-log", "fixed-window", "gcra", "concurrency"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
OnOutage = Literal["local", "open", "closed"]
ON_OUTAGE: Final[tuple[OnOutage, ...]] = get_args(OnOutage)

SECOND_MS: Final = 1_000
WINDOW_MS_MAX: Final = 366 * 86_400 * SECOND_MS
UNITS_MAX: Final = 1_000_000_000
RESOLUTION_MAX: Final = 120
LIMITS_MAX: Final = 8
NAME_CHARACTERS_MAX: Final = 64

_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*")
_WORDS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Limit(Struct, frozen=True, kw_only=True):
    """At most `units` in any `window_ms`; a finer `resolution` gives units back sooner, for more memory.

    `burst` belongs to `gcra`: how many units may come at once; None stands for `units`.
    """

    units: int
    window_ms: int
    resolution: int = 16
    burst: int | None = None

    @property
    def text(self) -> str:
        """The canonical notation, such as `100/minute` or `100/5 minutes`."""
        seconds = self.window_ms // SECOND_MS
        word, size = next(unit for unit in _WORDS if seconds % unit[1] == 0)
        many = seconds // size
        return f"{self.units}/{word}" if many == 1 else f"{self.units}/{many} {word}s"


class Policy(Struct, frozen=True, kw_only=True):
    """A named set of limits that are decided and charged together.

    `on_outage` decides while the store does not answer: `local` counts in the process, `open` admits, `closed`
    refuses. A `shadow` decides and counts but never refuses; one that runs `beside` another policy is taken from
    whenever that one is. `cost` is charged where a take names none, `key` is the rule by which middleware finds the
    subject. `allow` and `deny` hold networks (CIDR) and keys that are never counted, or always refused.

    Raises InvalidInput where the name, a limit or their combination cannot be used.
    """

    name: str
    limits: tuple[Limit, ...]
    algorithm: Algorithm = "sliding-window"
    on_outage: OnOutage = "local"
    shadow: bool = False
    beside: str | None = None
    cost: int = 1
    key: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(self.name):
            remedy = "begin with one of a-z, then up to 63 of a-z, 0-9, `_`, `.` and `-`"
            raise InvalidInput("policy", self.name, remedy)
        field = f"policies.{self.name}"
        if not 1 <= len(self.limits) <= LIMITS_MAX:
            raise InvalidInput(field, len(self.limits), f"give 1 to {LIMITS_MAX} limits")
        for limit in self.limits:
            remedy = _remedy(limit)
            if remedy is not None:
                raise InvalidInput(field, limit, remedy)
        if len({limit.window_ms for limit in self.limits}) < len(self.limits):
            raise InvalidInput(field, self.text, "give each window once, with the smaller number")

    @property
    def text(self) -> str:
        """The canonical notation of all limits, which reads back as the same limits."""
        return "; ".join(limit.text for limit in self.limits)


def _remedy(limit: Limit) -> str | None:
    if not 1 <= limit.units <= UNITS_MAX:
        return f"allow 1 to {UNITS_MAX:,} units"
    if not SECOND_MS <= limit.window_ms <= WINDOW_MS_MAX:
        return "give a window of 1 second to 366 days"
    if limit.window_ms % SECOND_MS:
        return "give a window of whole seconds"
    if not 1 <= limit.resolution <= RESOLUTION_MAX:
        return f"give a resolution of 1 to {RESOLUTION_MAX}"
    return None
