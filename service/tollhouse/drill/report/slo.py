"""The bounds of a drill: the largest value of each measure, per fault, and the check of them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tollhouse.drill.clients.client import Via
from tollhouse.drill.results.metrics import MEASURES, Figures
from tollhouse.errors import ConfigurationError
from tollhouse.suggest import one_of

ALL: Final = "all"
"""The name of the bounds that hold for every fault."""

_FOLLOW_MS: Final = 1500
"""How long it may take until a replica follows a new primary: Sentinel notices the promotion first."""
_LATE_MS: Final = 50
"""How long after a reply was taken as done its call may end: a few iterations of a busy event loop."""

Bounds = Mapping[str, float]
Slo = Mapping[str, Bounds]
"""Bounds by measure, by fault or `all`; if both have a measure, the one of the fault counts."""

_Table = dict[str, dict[str, Annotated[float, Meta(ge=0)]]]


class SloVerdict(Struct, frozen=True, kw_only=True):
    """One bound and whether the worst round kept it; a value that was not observed did not."""

    fault: str
    measure: str
    at_most: float
    worst: float | None
    kept: bool


def built_in(down_after_ms: int, via: Via, *, min_replicas: int = 0, max_unreplicated_ms: int | None = None) -> Slo:
    """Return the default bounds; those of connections and slots are left out over HTTP, which does not show them.

    With `min_replicas` a new primary refuses writes until a replica follows it, so errors and gaps are the server's.
    With `max_unreplicated_ms` losses have a bound that they do not have without it.
    """
    connections: Bounds = {"leaked_slots": 0, "reconnects": 0} if via == "library" else {}
    window: Bounds = {} if max_unreplicated_ms is None else {"plain_lost_ms": max_unreplicated_ms + _LATE_MS}
    follow_ms = _FOLLOW_MS if min_replicas else 0
    unseen: Bounds = {"gap_ms": 500 + follow_ms} if min_replicas else {"errors": 0, "takes_degraded": 0}
    return MappingProxyType(
        {
            ALL: {"resurrected": 0, "over_admission_unexplained": 0, "ghosts": 0},
            "forced": {"plain_lost_ms": 50, "durable_lost": 0, **unseen},
            "coordinated": {"plain_lost": 0, "durable_lost": 0, **unseen, "gap_ms": 500 + follow_ms},
            "kill9": {"gap_ms": down_after_ms + 800 + follow_ms, "durable_lost": 0, "over_deadline": 0},
            "sigstop": {"gap_ms": down_after_ms + 1800 + follow_ms, "deposed": 0},
            "twice": {"durable_lost": 0, "over_deadline": 0, **window},
            "partition": {"durable_lost": 0, "over_deadline": 0, **window},
            "lag": {"durable_lost": 0, "over_deadline": 0, **window},
            "script-flush": {"errors": 0, "takes_degraded": 0},
            "cancel-storm": {"foreign": 0, **connections, "cancellations_missing": 0},
            "client-kill": {"plain_lost": 0, "durable_lost": 0, "over_deadline": 0},
        }
    )


def read(path: Path, faults: Mapping[str, object]) -> Slo:
    """Read bounds from a TOML file, one table per fault; they replace the built-in ones.

    Raises ConfigurationError for an unknown fault or measure, and for a value that is no number.
    """
    try:
        table = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Table, strict=False)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(
            "--slo", str(path), f"write `[FAULT]` and `MEASURE = NUMBER` as TOML: {error}"
        ) from error
    for fault, bounds in table.items():
        _require(path, fault, (ALL, *faults), "fault")
        for name in bounds:
            _require(path, f"{fault}.{name}", tuple(f"{fault}.{one}" for one in MEASURES), "measure")
    return table


def bounds(slo: Slo, fault: str) -> Bounds:
    """Return the bounds of one fault, with those of all faults."""
    return {**slo.get(ALL, {}), **slo.get(fault, {})}


def check(slo: Slo, fault: str, worst: Figures) -> Iterator[SloVerdict]:
    """Yield a verdict for each bound of a fault, on the worst figures."""
    for name, at_most in bounds(slo, fault).items():
        value = worst[name]
        kept = value is not None and value <= at_most
        yield SloVerdict(fault=fault, measure=name, at_most=at_most, worst=value, kept=kept)


def _require(path: Path, name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        remedy = one_of(name, known)
        raise ConfigurationError(f"--slo {path}", name, f"no {what} has this name; {remedy}")
