"""Imports follow the layer table, and the check can tell when they do not."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

import pytest

from tests.project.imports import ROOT, graph, package_imports
from tests.project.layers import LINES, complaints, unmatched

pytestmark = pytest.mark.project

PACKAGES = {
    "tollhouse",
    "tollhouse.limits",
    "tollhouse.limits.policy",
    "tollhouse.stores.transport",
    "tollhouse.stores",
    "tollhouse.http",
    "tollhouse.cli",
}

ALLOWED = [
    ("tollhouse.limits.limiter", "from tollhouse import keys, scripts"),
    ("tollhouse.ai.results", "from tollhouse.cache.cache import Cache\nfrom tollhouse.limits import limiter"),
    ("tollhouse.accounts.accounts", "import tollhouse.sessions.sessions\nimport tollhouse.limits.limiter"),
    ("tollhouse.wiring", "from tollhouse.stores.opening import Stores\nfrom tollhouse.limits.limiter import Limiter"),
    ("tollhouse.stores.transport.connection", "import hiredis\nfrom redis.exceptions import RedisError"),
    ("tollhouse.litestar", "from litestar import Litestar\nfrom tollhouse.http import limits"),
    ("tollhouse.http.limits.routes", "import litestar.exceptions"),
    ("tollhouse.limits", "from .limiter import Limiter"),
    ("tollhouse", "from tollhouse.wiring import open"),
]

REFUSED = [
    ("tollhouse.keys", "from tollhouse.limits import limiter", "point down"),
    ("tollhouse.limits.limiter", "from tollhouse.stores import store", "a feature names"),
    (
        "tollhouse.limits.limiter",
        "def take():\n    from tollhouse.stores.store import Store",
        "a feature names",
    ),
    (
        "tollhouse.limits.limiter",
        "if TYPE_CHECKING:\n    from ..stores.store import Store",
        "a feature names",
    ),
    ("tollhouse.limits", "from .limiter import Limiter\nfrom ..sessions import tokens", "sideways as drawn"),
    ("tollhouse.cache.cache", "from tollhouse.ai import results", "sideways as drawn"),
    ("tollhouse.sessions.sessions", "from tollhouse.accounts import accounts", "sideways as drawn"),
    ("tollhouse.stores.transport.connection", "from tollhouse.limits import limiter", "sideways as drawn"),
    ("tollhouse.wiring", "from tollhouse.http import limits", "point down"),
    ("tollhouse.app", "from tollhouse.cli import serve", "point down"),
    ("tollhouse.limits.limiter", "import redis.asyncio", "only in stores"),
    ("tollhouse.app", "from hiredis import Reader", "only in stores"),
    ("tollhouse.asgi.ratelimit.middleware", "from litestar.types import Scope", "only in app, http, litestar"),
    ("tollhouse.cli.serve", "importlib.import_module('fakeredis')", "only in stores"),
    ("tollhouse.cli.serve", "from tollhouse import Settings", "where a name is defined"),
    ("tollhouse", "from tollhouse.app import create", "point down"),
    ("tollhouse.limits.policy.policy", "from tollhouse.limits.calls import batcher", "the floors of limits run down"),
    ("tollhouse.stores.urls", "from tollhouse.stores.transport import connection", "the floors of stores run down"),
    ("tollhouse.limits.joint", "from tollhouse.limits.policy import policy", "joint has no floor in limits"),
    ("tollhouse.gate", "import json", "no line in the layer table"),
    (
        "tollhouse.app",
        "from tollhouse.stores import store\nfrom tollhouse.limits import limiter",
        "only wiring does",
    ),
]


def test_imports_follow_the_layer_table() -> None:
    """C-2, S1-06: each import points down, or sideways as drawn, and outside packages stay in their rooms."""
    assert complaints(package_imports()) == []


def test_specifications_mirror_the_package() -> None:
    """A specification stands in the folder of the module that it is about, under the module's name."""
    below = ROOT / "tests/spec"
    specifications = [PurePosixPath(path.relative_to(below)) for path in sorted(below.rglob("test_*.py"))]

    assert unmatched(specifications, package_imports()) == []


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    """The process that guards the embedded server imports only what Python brings."""
    names = package_imports()["tollhouse.stores.embedded.supervisor_process"]

    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_make_holds_the_core_to_full_coverage() -> None:
    """The rooms that `make test` wants covered in every branch are lines 0 and 1 of the table."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = next(line for line in makefile.splitlines() if line.startswith("CORE ")).partition(":=")[2].split()

    assert listed == sorted(room for room, line in LINES.items() if line <= 1)


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_the_table_draws_is_allowed(module: str, source: str) -> None:
    """Imports down, sideways as drawn, and of outside packages in their rooms pass the check."""
    assert complaints(_among_others(module, source)) == []


@pytest.mark.parametrize(("module", "source", "expected"), REFUSED)
def test_what_the_table_does_not_draw_is_found(module: str, source: str, expected: str) -> None:
    """An import up, sideways, around the facade or inside a function is found wherever it stands."""
    found = complaints(_among_others(module, source))

    assert any(expected in complaint for complaint in found), found


def test_a_specification_of_no_module_is_found() -> None:
    """A name may go on after the module's, or be a folder's; one that begins like a module's is not enough."""
    names = ("limits/test_limiter.py", "limits/test_limiter_verbs.py", "stores/test_transport.py", "test_keys.py")
    strays = ("limits/test_limiters.py", "limits/test_verbs.py", "test_limiter.py")
    modules = {"tollhouse.limits.limiter", "tollhouse.stores.transport", "tollhouse.keys"}

    assert unmatched(map(PurePosixPath, (*names, *strays)), modules) == list(strays)


def test_a_cycle_is_found() -> None:
    """Two modules of one room may not import each other."""
    sources = {"tollhouse.keys": "from tollhouse import scripts", "tollhouse.scripts": "import tollhouse.keys"}

    found = complaints(graph(sources, set()))

    assert any("a cycle" in complaint for complaint in found), found


def _among_others(module: str, source: str) -> dict[str, frozenset[str]]:
    names = [
        *(
            "accounts.accounts",
            "ai.results",
            "app",
            "asgi.ratelimit.middleware",
            "cache.cache",
            "cli.serve",
            "http.limits.routes",
            "keys",
        ),
        *(
            "limits.calls.batcher",
            "limits.limiter",
            "limits.policy.policy",
            "litestar",
            "scripts",
            "sessions.sessions",
            "sessions.tokens",
            "stores.transport.connection",
        ),
        *("stores.opening", "stores.urls", "wiring"),
    ]
    sources = {**dict.fromkeys(PACKAGES, ""), **{f"tollhouse.{name}": "" for name in names}, module: source}
    return dict(graph(sources, PACKAGES))
