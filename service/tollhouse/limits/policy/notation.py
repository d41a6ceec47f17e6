"""Parses limits in the notations of other limiters; `Policy.text` prints the one canonical form.

Accepted are `5/second`, `5/s`, `100/5m`, `100/5 minutes`, `10 per hour`, `100/300` (seconds) and `10-M`, and several
of them separated by `;`, `,` or `|`. A month is 30 days and a year 365. For the algorithm gcra a burst
may follow: `1000/second burst 2000`.
"""

from __future__ import annotations

import re
from typing import Final, TypedDict, Unpack, cast

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.policy import SECOND_MS, WINDOW_REMEDY, Algorithm, LeaseRule, Limit, OnOutage, Policy
from tollhouse.suggest import similar

TEXT_CHARACTERS_MAX: Final = 512

_UNITS: Final = {
    ("s", "sec", "second", "seconds"): 1,
    ("m", "min", "minute", "minutes"): 60,
    ("h", "hour", "hours"): 3_600,
    ("d", "day", "days"): 86_400,
    ("w", "week", "weeks"): 604_800,
    ("mo", "month", "months"): 30 * 86_400,
    ("y", "year", "years"): 365 * 86_400,
}
_SECONDS: Final = {word: seconds for words, seconds in _UNITS.items() for word in words}
_BELOW_A_SECOND: Final = frozenset({"ms", "msec", "millis", "millisecond", "milliseconds"})
_SHORT: Final = 3
_LIKENESS: Final = 0.5
"""Of so short a word, for which it is lower than for others: `mn` is to suggest both `min` and `month`."""

_LIMIT: Final = re.compile(
    r"""(?P<units>[0-9]+) \s*
        (?: (?: / | per\b ) \s* (?: (?P<count>[0-9]+) \s* )? (?P<word>[a-z]+)? | - (?P<letter>[a-z]+) )
        (?: \s+ burst \s+ (?P<burst>[0-9]+) )?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


_EXAMPLES: Final = "write units and a window, such as 5/second or 100/5 minutes"
_MORE_THAN_ONE: Final = "write `;` between limits, as in 5/second; 100/minute"


class PolicyFields(TypedDict, total=False):
    """The fields of a policy that are no part of the notation; `Policy` documents and validates them."""

    shadow: bool
    shadow_of: str | None
    cost: int
    key: str | None
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    lease: LeaseRule


def parse_policy(
    name: str, text: str, algorithm: str = "sliding-window", *, on_outage: str = "local", **fields: Unpack[PolicyFields]
) -> Policy:
    """Return the policy with the limits in `text`; raises InvalidInput with the part that is wrong and a remedy."""
    field = f"policies.{name}"
    if len(text) > TEXT_CHARACTERS_MAX:
        raise InvalidInput(field, text, f"write limits in at most {TEXT_CHARACTERS_MAX} characters")
    limits = tuple(_limit(part.strip() or text, field) for part in re.split("[;,|]", text))
    chosen, rule = cast("Algorithm", algorithm), cast("OnOutage", on_outage)  # Policy refuses any other word
    return Policy(name=name, limits=limits, algorithm=chosen, on_outage=rule, **fields)


def _limit(text: str, field: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match is None or not (match["count"] or match["word"] or match["letter"]):
        raise InvalidInput(field, text, _MORE_THAN_ONE if len(_LIMIT.findall(text)) > 1 else _EXAMPLES)
    word = (match["word"] or match["letter"] or "s").lower()
    if word not in _SECONDS:
        raise InvalidInput(field, text, _did_you_mean(text, word))
    window_ms = int(match["count"] or 1) * _SECONDS[word] * SECOND_MS
    burst = None if match["burst"] is None else int(match["burst"])
    return Limit(units=int(match["units"]), window_ms=window_ms, burst=burst)


def _did_you_mean(text: str, word: str) -> str:
    if word in _BELOW_A_SECOND:
        return WINDOW_REMEDY
    alike: dict[int, str] = {}
    likely = similar(word, _SECONDS, likeness=_LIKENESS) if len(word) <= _SHORT else similar(word, _SECONDS)[:1]
    for spelling in likely:
        alike.setdefault(_SECONDS[spelling], spelling)
    before = text[: text.lower().rindex(word)]
    if alike:
        return "did you mean " + " or ".join(f"{before}{unit}" for unit in alike.values()) + "?"
    return f"{word} is no unit of time: use second, minute, hour, day, week, month or year"
