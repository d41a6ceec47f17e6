"""Policies: how many units each window allows, checked once so that everything below can rely on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal, get_args

from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.suggest import did_you_mean

Algorithm = Literal["sliding-window", "sliding-window-counter", "sliding-log", "fixed-window", "gcra", "concurrency"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
OnOutage = Literal["local", "open", "closed"]
ON_OUTAGE: Final[tuple[OnOutage, ...]] = get_args(OnOutage)

SECOND_MS: Final = 1_000
WINDOW_MS_MAX: Final = 366 * 86_400 * SECOND_MS
UNITS_MAX: Final = 1_000_000_000
LOG_UNITS_MAX: Final = 10_000
PERMITS_MAX: Final = 1_000
RESOLUTION_MAX: Final = 120
LIMITS_MAX: Final = 8
NAME_CHARACTERS_MAX: Final = 64
LISTED_MAX: Final = 1_000
LISTED_CHARACTERS_MAX: Final = 512

_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*")
_KEY: Final = re.compile(
    r"address|user|session|api-key|header:[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}|path:[A-Za-z_][A-Za-z0-9_]{0,63}"
)
_KEYS: Final = ("address", "user", "session", "api-key", "header:NAME", "path:NAME")
_WORDS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Limit(Struct, frozen=True, kw_only=True):
    """At most `units` in any `window_ms`.

    `resolution` belongs to `sliding-window`: a finer one gives units back sooner, for more memory. `burst` belongs
    to `gcra`: how many units may come at once; None stands for `units`.
    """

    units: int
    window_ms: int
    resolution: int = 16
    burst: int | None = None

    @property
    def capacity(self) -> int:
        """The most units that can be had at one moment; a higher cost is never admitted."""
        return self.units if self.burst is None else self.burst

    @property
    def text(self) -> str:
        """The canonical notation, such as `100/minute`, `100/5 minutes` or `1000/second burst 2000`."""
        seconds = self.window_ms // SECOND_MS
        word, size = next(unit for unit in _WORDS if seconds % unit[1] == 0)
        many = seconds // size
        window = word if many == 1 else f"{many} {word}s"
        return f"{self.units}/{window}" if self.burst is None else f"{self.units}/{window} burst {self.burst}"


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
        if not _is_name(self.name):
            remedy = "begin with one of a-z, then up to 63 of a-z, 0-9, `_`, `.` and `-`"
            raise InvalidInput("policy", self.name, remedy)
        field = f"policies.{self.name}"
        for name, value, remedy in _field_remedies(self):
            raise InvalidInput(f"{field}.{name}", value, remedy)
        if not 1 <= len(self.limits) <= LIMITS_MAX:
            raise InvalidInput(field, len(self.limits), f"give 1 to {LIMITS_MAX} limits")
        for limit in self.limits:
            remedy = _range_remedy(limit) or _algorithm_remedy(self.algorithm, limit)
            if remedy is not None:
                raise InvalidInput(field, limit, remedy)
        if len({limit.window_ms for limit in self.limits}) < len(self.limits):
            raise InvalidInput(field, self.text, "give each window once, with the smaller number")
        if self.is_concurrency and len(self.limits) > 1:
            raise InvalidInput(field, self.text, "give one limit: the permits, and how long a lease lasts")

    @property
    def is_concurrency(self) -> bool:
        """Whether the policy grants leases of permits (`hold`, `lease`) instead of counting units."""
        return self.algorithm == "concurrency"

    @property
    def text(self) -> str:
        """The canonical notation of all limits, which reads back as the same limits."""
        return "; ".join(limit.text for limit in self.limits)


def _is_name(name: str) -> bool:
    return len(name) <= NAME_CHARACTERS_MAX and _NAME.fullmatch(name) is not None


def _field_remedies(policy: Policy) -> Iterator[tuple[str, object, str]]:
    """Give the name and the value of each field that cannot be used, and what to write instead."""
    yield from _word_remedies("algorithm", policy.algorithm, ALGORITHMS)
    yield from _word_remedies("on_outage", policy.on_outage, ON_OUTAGE)
    if type(policy.cost) is not int or not 0 <= policy.cost <= UNITS_MAX:
        yield "cost", policy.cost, f"give a whole number from 0 to {UNITS_MAX:,}"
    if policy.key is not None and not _KEY.fullmatch(policy.key):
        yield from _word_remedies("key", policy.key, _KEYS)
    if policy.beside is not None and (policy.beside == policy.name or not _is_name(policy.beside)):
        yield "beside", policy.beside, "name another policy"
    if policy.beside is not None and not policy.shadow:
        yield "beside", policy.beside, "say shadow = true as well: beside another, a policy only watches"
    yield from _list_remedies("allow", policy.allow)
    yield from _list_remedies("deny", policy.deny)


def _word_remedies(name: str, word: str, known: Sequence[str]) -> Iterator[tuple[str, object, str]]:
    if word in known:
        return
    words = f"{', '.join(known[:-1])} or {known[-1]}"
    yield name, word, did_you_mean(word, known, also=f"It is {words}", otherwise=f"say {words}")


def _list_remedies(name: str, entries: tuple[str, ...]) -> Iterator[tuple[str, object, str]]:
    if len(entries) > LISTED_MAX:
        yield name, f"{len(entries)} entries", f"give at most {LISTED_MAX:,}; a network stands for many addresses"
    for entry in entries:
        if not 1 <= len(entry) <= LISTED_CHARACTERS_MAX:
            yield name, f"{len(entry)} characters", f"give each entry 1 to {LISTED_CHARACTERS_MAX} characters"


def _range_remedy(limit: Limit) -> str | None:
    if not 1 <= limit.units <= UNITS_MAX:
        return f"allow 1 to {UNITS_MAX:,} units"
    if not SECOND_MS <= limit.window_ms <= WINDOW_MS_MAX:
        return "give a window of 1 second to 366 days"
    if limit.window_ms % SECOND_MS:
        return "give a window of whole seconds"
    if not 1 <= limit.resolution <= RESOLUTION_MAX:
        return f"give a resolution of 1 to {RESOLUTION_MAX}"
    if not 1 <= limit.capacity <= UNITS_MAX:
        return f"give a burst of 1 to {UNITS_MAX:,}"
    if limit.capacity * limit.window_ms > WINDOW_MS_MAX * limit.units:
        return "give a burst that is restored within 366 days"
    return None


def _algorithm_remedy(algorithm: Algorithm, limit: Limit) -> str | None:
    if limit.burst is not None and algorithm != "gcra":
        return f"leave out `burst {limit.burst}`, or say algorithm gcra: only that one has a burst"
    if algorithm == "sliding-log" and limit.units > LOG_UNITS_MAX:
        return f"allow at most {LOG_UNITS_MAX:,} units, or say sliding-window: sliding-log remembers every take"
    if algorithm == "concurrency" and limit.units > PERMITS_MAX:
        return f"give at most {PERMITS_MAX:,} permits: each lease is remembered"
    return None
