"""Every file keeps the house style, and the check can tell when one does not."""

from __future__ import annotations

import pytest

from tests.project.imports import ROOT
from tests.project.style import broad_excepts, complaints, own_bases

pytestmark = pytest.mark.project

FOLDERS = ("service", "tests", "bench", "examples", "lua", "docs")
KINDS = frozenset({".py", ".lua", ".md", ".toml", ".txt", ".yml"})
SPEAKS_OF_STYLE = frozenset({"tests/project/style.py", "tests/project/test_style.py"})
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    if path.is_file() and (path.suffix in KINDS or path.name == "Makefile")
)
SERVICE = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES if name.startswith("service/")}

WRONG = [
    ("docs/page.md", "A robust design.\n", "says nothing that lasts"),
    ("service/x.py", "# TODO: later\n", "says nothing that lasts"),
    ("service/x.py", "# see DESIGN.md\n", "says nothing that lasts"),
    ("service/x.py", "# ---- reading ----\n", "a divider"),
    ("lua/x/y.lua", "------------\n", "a divider"),
    ("service/x.py", "x = 1\n" * 301, "300 is the stop"),
    ("service/x.py", "def f():\n" + "    x = 1\n" * 70, "70 is the stop"),
    ("service/utils.py", "", "does not say what the module provides"),
    ("service/x.py", "class StoreManager: ...\n", "does not say what the class is"),
    ("service/x.py", "x = 1  # noqa\n", "the code, then"),
    ("service/x.py", "x = 1  # type: ignore[arg-type]\n", "the code, then"),
    ("service/x.py", "now = time.time()\n", "is a hidden argument"),
    ("service/x.py", "class Hit(Struct, kw_only=True):\n    a: int\n", "so it is frozen"),
    ("service/x.py", "class Hit(msgspec.Struct, frozen=True):\n    a: int\n    b: int\n", "so it is kw_only"),
    ("tests/spec/test_x.py", "from unittest import mock\n", "at a seam that we own"),
    ("tests/http/test_x.py", 'monkeypatch.setattr(lane, "send", fake)\n', "replaces lane.send"),
    ("tests/http/test_x.py", 'monkeypatch.setattr("tollhouse.keys.rate", fake)\n', "replaces tollhouse.keys.rate"),
    ("tests/spec/test_x.py", "await anyio.sleep(0.1)\n", "no place in a specification"),
    ("tests/spec/test_x.py", "if isinstance(world.store, Store): ...\n", "no place in a specification"),
    ("tests/http/test_x.py", "def test_x():\n    pass\n", "a sentence of the specification"),
    ("tests/http/test_x.py", "def test_x():\n    '''checks x.'''\n", "a sentence of the specification"),
]

RIGHT = [
    ("service/x.py", "class CacheManager: ...\n"),
    ("service/x.py", "x = 1  # noqa: S311 - spreads reconnects, no secret\n"),
    ("service/x.py", "class Hit(Struct, frozen=True, kw_only=True):\n    a: int\n    b: int\n"),
    ("tests/spec/test_x.py", "async def test_x():\n    '''A refusal takes nothing.'''\n    await sleep(0)\n"),
    ("tests/failures/test_x.py", 'monkeypatch.setattr(link, "PARKED_S", 0.05)\n'),
    ("tests/failures/test_x.py", 'monkeypatch.setattr(embedded.shutil, "which", gone)\n'),
    ("tests/failures/test_x.py", "def test_x():\n    '''policy=None limits nothing.'''\n"),
    ("tests/failures/test_x.py", "await anyio.sleep(0.1)\n"),
]


@pytest.mark.parametrize("name", [name for name in FILES if name not in SPEAKS_OF_STYLE])
def test_a_file_keeps_the_house_style(name: str) -> None:
    """Sizes, names, words, ignores and the sentences of tests are as the house style asks."""
    assert complaints(name, (ROOT / name).read_text(encoding="utf-8")) == []


def test_classes_do_not_derive_from_our_own() -> None:
    """The package composes: only exceptions derive from classes of ours."""
    assert own_bases(SERVICE) == []


def test_one_place_catches_everything() -> None:
    """Every exception is caught in one place at most, the HTTP edge."""
    places = broad_excepts(SERVICE)

    assert len(places) <= 1
    assert all(place.startswith("service/tollhouse/http/") for place in places)


@pytest.mark.parametrize(("path", "source", "expected"), WRONG)
def test_a_broken_habit_is_noticed(path: str, source: str, expected: str) -> None:
    """Each habit has a file that breaks it and is found out."""
    found = complaints(path, source)

    assert any(expected in complaint for complaint in found), found


@pytest.mark.parametrize(("path", "source"), RIGHT)
def test_a_good_habit_passes(path: str, source: str) -> None:
    """What comes close to a broken habit, but is none, passes."""
    assert complaints(path, source) == []


def test_own_bases_and_broad_excepts_are_noticed() -> None:
    """A class of ours as a base and a handler of everything are found; the tree of failures is not."""
    sources = {
        "a.py": "class Failure(Exception): ...\nclass Late(Failure): ...\nclass Body: ...\nclass Login(Body): ...\n",
        "b.py": "try:\n    pass\nexcept (OSError, Exception):\n    pass\n",
        "c.py": "try:\n    pass\nexcept BaseException:\n    undo()\n    raise\n",
    }

    assert own_bases(sources) == ["a.py: Login derives from Body"]
    assert broad_excepts(sources) == ["b.py:3"]
