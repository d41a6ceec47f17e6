"""Policies and their limits: values that are validated when they are made, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal, cast, get_args

from msgspec import Struct
from msgspec.structs import force_setattr

from tollhouse.errors import InvalidInput
from tollhouse.suggest import one_of

Algorithm = Literal["sliding-window", "sliding-window-counter", "sliding-log", "fixed-window", "gcra", "concurrency"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
OnOutage = Literal["local", "open", "closed"]
ON_OUTAGE: Final[tuple[OnOutage, ...]] = get_args(OnOutage)
LeaseRule = Literal["off", "auto"]
LEASE_RULES: Final[tuple[LeaseRule, ...]] = get_args(LeaseRule)
CounterId = tuple[Algorithm, int, int]
"""Algorithm, window in ms, and resolution (0 except for sliding-window)."""

SECOND_MS: Final = 1_000
WINDOW_MS_MAX: Final = 366 * 86_400 * SECOND_MS
WINDOW_REMEDY: Final = "give a window of 1 second to 366 days"
UNITS_MAX: Final = 1_000_000_000
LOG_UNITS_MAX: Final = 10_000
PERMITS_MAX: Final = 1_000
RESOLUTION_MAX: Final = 120
LIMITS_MAX: Final = 8
LIST_ENTRIES_MAX: Final = 1_000
ENTRY_CHARACTERS_MAX: Final = 512

_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_KEY: Final = re.compile(
    r"address|user|session|api-key|header:[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}|path:[A-Za-z_][A-Za-z0-9_]{0,63}"
)
KEY_RULES: Final = ("address", "user", "session", "api-key", "header:NAME", "path:NAME")
"""The rules in words by which the key of a request is found."""
_WINDOW_WORDS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Limit(Struct, frozen=True, kw_only=True):
    """At most `units` in any `window_ms`.

    `resolution` is read by `sliding-window`: the number of sub-buckets in a window. More of them give units back sooner
    and take more memory. `burst` is read by `gcra`: how many units may be taken at once; None means `units`.
    """

    units: int
    window_ms: int
    resolution: int = 16
    burst: int | None = None

    @property
    def capacity(self) -> int:
        """The most units that can be available at one moment; a higher cost is never admitted."""
        return self.units if self.burst is None else self.burst

    @property
    def text(self) -> str:
        """The canonical notation, such as `100/minute`, `100/5 minutes` or `1000/second burst 2000`."""
        seconds = self.window_ms // SECOND_MS
        word, unit_seconds = next(unit for unit in _WINDOW_WORDS if seconds % unit[1] == 0)
        count = seconds // unit_seconds
        window = word if count == 1 else f"{count} {word}s"
        return f"{self.units}/{window}" if self.burst is None else f"{self.units}/{window} burst {self.burst}"

    def parameter(self, algorithm: Algorithm) -> int:
        """Return the number besides units and window that the algorithm reads; 0 if it reads none."""
        match algorithm:
            case "sliding-window":
                return self.resolution
            case "gcra":
                return self.capacity
            case _:
                return 0

    def counter_id(self, algorithm: Algorithm) -> CounterId:
        """Return what identifies the counter of this limit; a limit with other units or another burst shares it."""
        return algorithm, self.window_ms, self.resolution if algorithm == "sliding-window" else 0


class Policy(Struct, frozen=True, kw_only=True):
    """A named set of limits that are decided and charged together.

    `on_outage` is the rule while the store does not answer: `local` counts in this process, `open` admits, `closed`
    refuses. A `shadow` decides and counts but never refuses. `shadow_of` makes a policy the shadow of another one: it
    counts the takes of that policy as well, and `shadow` is then True. `cost` is charged by takes that name none. `key`
    is the rule by which middleware finds the key of a request. `allow` and `deny` hold networks (CIDR) and keys that
    are never counted, or always refused. With `lease` as `auto`, processes lease units of busy keys and admit from them
    without the store; only the algorithm sliding-window has leases.

    Raises InvalidInput if the name, a limit or their combination cannot be used.
    """

    name: str
    limits: tuple[Limit, ...]
    algorithm: Algorithm = "sliding-window"
    on_outage: OnOutage = "local"
    shadow: bool = False
    shadow_of: str | None = None
    cost: int = 1
    key: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    lease: LeaseRule = "off"

    def __post_init__(self) -> None:
        if not _matches(_NAME, self.name):
            remedy = "begin with one of a-z, then up to 63 of a-z, 0-9, `_`, `.` and `-`"
            raise InvalidInput("policy", self.name, remedy)
        for name, value, remedy in _field_remedies(self):
            raise InvalidInput(f"policies.{self.name}.{name}", value, remedy)
        for value, remedy in _limit_remedies(self):
            raise InvalidInput(f"policies.{self.name}", value, remedy)
        force_setattr(self, "shadow", self.shadow or self.shadow_of is not None)

    @property
    def is_concurrency(self) -> bool:
        """Whether the policy grants leases of permits (`hold`, `lease`) instead of counting units."""
        return self.algorithm == "concurrency"

    @property
    def text(self) -> str:
        """The canonical notation of all limits, which reads back as the same limits."""
        return "; ".join(limit.text for limit in self.limits)


def _field_remedies(policy: Policy) -> Iterator[tuple[str, object, str]]:
    """Yield the name and the value of each field that cannot be used, and what to write instead."""
    yield from _type_remedies(policy)
    yield from _word_remedies("algorithm", policy.algorithm, ALGORITHMS)
    yield from _word_remedies("on_outage", policy.on_outage, ON_OUTAGE)
    yield from _word_remedies("lease", policy.lease, LEASE_RULES)
    if policy.lease != "off" and policy.algorithm != "sliding-window":
        yield "lease", policy.lease, f"leave it out, or say algorithm sliding-window: {policy.algorithm} has no leases"
    if type(policy.cost) is not int or not 0 <= policy.cost <= UNITS_MAX:
        yield "cost", policy.cost, f"give a whole number from 0 to {UNITS_MAX:,}"
    if policy.key is not None and not _matches(_KEY, policy.key):
        yield from _word_remedies("key", policy.key, KEY_RULES)
    if policy.shadow_of is not None and (policy.shadow_of == policy.name or not _matches(_NAME, policy.shadow_of)):
        yield "shadow_of", policy.shadow_of, "name another policy"
    yield from _list_remedies("allow", policy.allow)
    yield from _list_remedies("deny", policy.deny)


def _type_remedies(policy: Policy) -> Iterator[tuple[str, object, str]]:
    """Yield the fields of other types; those who ask for what is wrong with the values stop here."""
    if type(policy.shadow) is not bool:
        yield "shadow", policy.shadow, "give True or False"
    if not _are(Limit, policy.limits):
        yield "limits", policy.limits, "give a tuple of Limit; limits as text go into `policies`"
    for name, entries in (("allow", policy.allow), ("deny", policy.deny)):
        if not _are(str, entries):
            yield name, entries, "give a tuple of texts"


def _limit_remedies(policy: Policy) -> Iterator[tuple[object, str]]:
    """Yield each limit, or the text of all limits, that cannot be used, and what to write instead."""
    if not 1 <= len(policy.limits) <= LIMITS_MAX:
        yield len(policy.limits), f"give 1 to {LIMITS_MAX} limits"
    for limit in policy.limits:
        remedy = _range_remedy(limit) or _algorithm_remedy(policy.algorithm, limit)
        if remedy is not None:
            yield _shown(limit), remedy
    if len({limit.window_ms for limit in policy.limits}) < len(policy.limits):
        yield policy.text, "give each window once, with the smaller number"
    if policy.is_concurrency and len(policy.limits) > 1:
        yield policy.text, "give one limit: the permits, and how long a lease lasts"


def _shown(limit: Limit) -> str:
    """Return the limit as a person writes it, also if its window has no notation."""
    is_notation = type(limit.window_ms) is int and limit.window_ms >= SECOND_MS and limit.window_ms % SECOND_MS == 0
    return limit.text if is_notation else f"{limit.units}/{limit.window_ms} ms"


def _matches(expression: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and expression.fullmatch(text) is not None


def _are(kind: type, items: object) -> bool:
    """Return True for a list or tuple of items of one type."""
    return isinstance(items, list | tuple) and all(isinstance(item, kind) for item in cast("Sequence[object]", items))


def _word_remedies(name: str, word: str, known: Sequence[str]) -> Iterator[tuple[str, object, str]]:
    if word not in known:
        yield name, word, one_of(word, known)


def _list_remedies(name: str, entries: tuple[str, ...]) -> Iterator[tuple[str, object, str]]:
    if len(entries) > LIST_ENTRIES_MAX:
        yield name, f"{len(entries)} entries", f"give at most {LIST_ENTRIES_MAX:,}; a network stands for many addresses"
    for entry in entries:
        if not 1 <= len(entry) <= ENTRY_CHARACTERS_MAX:
            yield name, f"{len(entry)} characters", f"give each entry 1 to {ENTRY_CHARACTERS_MAX} characters"


def _range_remedy(limit: Limit) -> str | None:
    if not all(type(number) is int for number in (limit.units, limit.window_ms, limit.resolution, limit.capacity)):
        return "give whole numbers"
    if not 1 <= limit.units <= UNITS_MAX:
        return f"allow 1 to {UNITS_MAX:,} units"
    if not SECOND_MS <= limit.window_ms <= WINDOW_MS_MAX:
        return WINDOW_REMEDY
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
