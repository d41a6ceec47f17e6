"""Every file keeps the house style, and the check can tell when one does not."""

from __future__ import annotations

import re

import pytest

from tests.project import truth, words
from tests.project.imports import ROOT
from tests.project.style import broad_excepts, complaints, crowded, own_bases

pytestmark = pytest.mark.project

FOLDERS = ("service", "tests", "bench", "examples", "lua", "docs")
KINDS = frozenset({".py", ".lua", ".md", ".toml", ".txt", ".yml"})
SPEAKS_OF_STYLE = frozenset(f"tests/project/{name}.py" for name in ("style", "test_style", "words"))
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
    ("service/x.py", "def f():\n" + "    x = 1\n" * 40, "40 is the stop"),
    ("tests/x.py", "def f():\n" + "    x = 1\n" * 70, "70 is the stop"),
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
    ("tests/failures/test_x.py", 'monkeypatch.setattr(link, "PARKED_S", 0.05)\n', "replaces link.PARKED_S"),
    (
        "tests/failures/test_x.py",
        'monkeypatch.setattr("tollhouse.x.PARKED_S", 0.05)\n',
        "replaces tollhouse.x.PARKED_S",
    ),
    ("tests/spec/test_x.py", "await anyio.sleep(0.1)\n", "no place in a specification"),
    ("tests/http/test_x.py", "time.sleep(1)\n", "no place in a specification"),
    ("tests/spec/test_x.py", "if isinstance(world.store, Store): ...\n", "no place in a specification"),
    ("tests/http/test_x.py", "def test_x():\n    pass\n", "a sentence of the specification"),
    ("tests/http/test_x.py", "def test_x():\n    '''checks x.'''\n", "a sentence of the specification"),
]

RIGHT = [
    ("service/x.py", "class CacheManager: ...\n"),
    ("service/x.py", "x = 1  # noqa: S311 - spreads reconnects, no secret\n"),
    ("service/x.py", "class Hit(Struct, frozen=True, kw_only=True):\n    a: int\n    b: int\n"),
    ("tests/spec/test_x.py", "async def test_x():\n    '''A refusal takes nothing.'''\n    await sleep(0)\n"),
    ("tests/x.py", "def f():\n" + "    x = 1\n" * 60),
    ("tests/failures/test_x.py", 'monkeypatch.setattr(embedded.shutil, "which", gone)\n'),
    ("tests/failures/test_x.py", "def test_x():\n    '''policy=None limits nothing.'''\n"),
    ("tests/failures/test_x.py", "await anyio.sleep(0.1)\n"),
]

SPECIFIES_TRUTH = "tests/spec/limits/test_decision.py"
OF_OTHERS = {
    "service/tollhouse/worker_pool.py tests the truth of self._places.acquire(blocking=False)",
    "service/tollhouse/worker_pool.py tests the truth of self._threads.remove(job)",
    "tests/simulation/valkey/replication.py tests the truth of self.history.rename(history)",
    "tests/structured_fields.py tests the truth of (match := self.take(_INTEGER))",
    "tests/structured_fields.py tests the truth of (match := self.take(_STRING))",
    "tests/structured_fields.py tests the truth of (match := self.take(_TOKEN))",
}
"""Calls that have the name of a verb, and return no outcome."""
JUDGED = {
    "service/tollhouse/x.py": """
class Verdict:
    def __bool__(self) -> bool: ...
class Source:
    last: Verdict | None
    def find(self) -> "Verdict | None": ...
    def find_all(self) -> list[Verdict]: ...
""",
}
TRUTH_TESTS = [
    "verdict = await source.find()\nif verdict: ...\n",
    "if not (verdict := await source.find()): ...\n",
    "async def f(verdict: Verdict | None):\n    return verdict or await other()\n",
    "def f(verdict: Optional[Verdict]):\n    return 1 if verdict else 2\n",
    "while source.last and going: ...\n",
    "allowed = bool(Verdict())\n",
    "verdict = replace(Verdict(), x=1)\nassert verdict\n",
    "verdicts = [one for one in source.find_all() if one]\n",
    "async with source.find() as verdict:\n    print(not verdict)\n",
    "verdicts: dict[str, Verdict] = {}\nif verdicts.get('a'): ...\n",
    "if (await source.find_all())[0]: ...\n",
    "print(any(one for one in source.find_all()))\n",
    "match 1:\n    case 1 if source.last: ...\n",
]
COMPARISONS = [
    "verdict = await source.find()\nif verdict is None or verdict.allowed: ...\n",
    "if source.find_all(): ...\n",
    "verdicts = source.find_all()\nif not verdicts or verdicts[:1]: ...\n",
    "return_value = going and source.find()\n",
    "def f(verdict: Verdict):\n    def g(verdict: bool):\n        return not verdict\n",
]

UNCLEAR = [
    ("service/x.py", 'def f():\n    """Give the key."""\n', "opens with 'Give'"),
    ("service/x.py", 'async def f():\n    """Whether it is on."""\n', "opens with 'Whether'"),
    ("tests/x.py", 'def f():\n    """Tell the time."""\n', "opens with 'Tell'"),
    ("service/x.py", '"""Where no store answers, refuse."""\n', "'where' is for places"),
    ("service/x.py", "# The call is refused where the store is down.\n", "line 1: 'where' is for places"),
    ("tests/x.py", 'def f():\n    """Somebody else waits."""\n', "line 2: 'Somebody'"),
    ("tests/x.py", "x = 1\n# One line,\n# and nobody's turn.\n", 'line 3: "nobody\'s"'),
    ("lua/x/y.lua", "-- What nobody holds is free.\n", "'nobody'"),
    ("docs/page.md", "Keep it where it is.\n\nIt waits, where that helps.\n", "line 3: 'where'"),
    ("docs/page.md", "```sql\nselect it\n```\n\nIt waits, where that helps.\n", "line 5: 'where'"),
]
PLAIN = [
    ("service/x.py", 'def f():\n    """Return the key, or None if there is none."""\n'),
    ("service/x.py", '@property\ndef f(self):\n    """The server that answers."""\n'),
    ("service/x.py", '"""The server where the key is."""\nnobody = "somebody"\n'),
    ("tests/x.py", 'def f():\n    """A refusal writes nothing."""\n'),
    ("tests/x.py", "x = 1  # the line where it stands\n"),
    ("lua/x/y.lua", "local nobody = 1 -- free\n"),
    ("docs/page.md", "A query:\n\n```sql\nselect it where id = 7\n```\n"),
    ("x.toml", "# nobody\n"),
]


@pytest.mark.parametrize("name", [name for name in FILES if name not in SPEAKS_OF_STYLE])
def test_a_file_keeps_the_house_style(name: str) -> None:
    """Sizes, names, words, ignores and the sentences of tests are as the house style asks."""
    assert complaints(name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", sorted({*FILES} - SPEAKS_OF_STYLE))
def test_a_file_is_in_plain_words(name: str) -> None:
    """Docstrings open with the outcome or the effect; conditions, places and people are called what they are."""
    assert words.complaints(name, (ROOT / name).read_text(encoding="utf-8")) == []


def test_no_outcome_is_tested_for_its_truth() -> None:
    """A refusal is false and so is None: our own code says which of them it means."""
    known = truth.outcomes(SERVICE)
    names = [name for name in FILES if name.endswith(".py") and name != SPECIFIES_TRUTH]
    sources = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}

    found = {one for name, source in sources.items() for one in truth.truth_tests(name, source, known)}

    assert "Decision" in known.classes
    assert {re.sub(r":\d+ ", " ", one) for one in found} == OF_OTHERS


@pytest.mark.parametrize("source", TRUTH_TESTS)
def test_a_truth_test_of_an_outcome_is_noticed(source: str) -> None:
    """Each way to test the truth of an outcome is found, once."""
    found = truth.truth_tests("service/x.py", source, truth.outcomes(JUDGED))

    assert len(found) == 1, found


@pytest.mark.parametrize("source", COMPARISONS)
def test_a_comparison_of_an_outcome_passes(source: str) -> None:
    """What compares an outcome, or tests something else, passes."""
    assert truth.truth_tests("service/x.py", source, truth.outcomes(JUDGED)) == []


def test_names_of_classes_are_nouns_of_their_own() -> None:
    """A public class name is defined once in the package, and none is a participle alone."""
    assert words.twice(SERVICE) == []
    assert words.participles(SERVICE) == []


def test_folders_are_small() -> None:
    """No folder of the package holds more modules than a reader keeps in mind."""
    assert crowded(SERVICE) == []


def test_classes_do_not_derive_from_our_own() -> None:
    """The package composes: only exceptions derive from classes of ours."""
    assert own_bases(SERVICE) == []


def test_every_event_has_its_facts_in_its_text() -> None:
    """Only `logs` asks for a logger: everything else logs through `Log`, which writes the fields into the text."""
    found = [name for name, source in SERVICE.items() if "getLogger(" in source]

    assert found == ["service/tollhouse/logs.py"]


def test_one_place_catches_everything() -> None:
    """Every exception is caught in one place at most, the HTTP edge."""
    places = broad_excepts(SERVICE)

    assert len(places) <= 1
    assert all(place.startswith(("service/tollhouse/http/", "service/tollhouse/serving/")) for place in places)


@pytest.mark.parametrize(("path", "source", "expected"), WRONG)
def test_a_broken_habit_is_noticed(path: str, source: str, expected: str) -> None:
    """Each habit has a file that breaks it and is found out."""
    found = complaints(path, source)

    assert any(expected in complaint for complaint in found), found


@pytest.mark.parametrize(("path", "source"), RIGHT)
def test_a_good_habit_passes(path: str, source: str) -> None:
    """What comes close to a broken habit, but is none, passes."""
    assert complaints(path, source) == []


@pytest.mark.parametrize(("path", "source", "expected"), UNCLEAR)
def test_unclear_words_are_noticed(path: str, source: str, expected: str) -> None:
    """Each rule about words has a text that breaks it and is found out, at its line."""
    found = words.complaints(path, source)

    assert any(expected in complaint for complaint in found), found


@pytest.mark.parametrize(("path", "source"), PLAIN)
def test_plain_words_pass(path: str, source: str) -> None:
    """What comes close to unclear words, but is none, passes."""
    assert words.complaints(path, source) == []


def test_unclear_class_names_are_noticed() -> None:
    """A public class that two modules define is found, and a participle; private and failing ones are not."""
    sources = {
        "service/a.py": "class Store: ...\nclass _Own: ...\nclass Known: ...\nclass Leased(Exception): ...\n",
        "service/b.py": "class Store: ...\nclass _Own: ...\nclass _Held: ...\nclass Feed: ...\nclass Lease: ...\n",
    }

    assert words.twice(sources) == ["Store is defined in service/a.py, service/b.py"]
    assert [found.partition(": ")[0] for found in words.participles(sources)] == [
        "service/a.py:3 Known",
        "service/b.py:3 _Held",
        "service/b.py:4 Feed",
    ]


def test_a_crowded_folder_is_noticed() -> None:
    """Fifteen modules in one folder are too many; its map does not count."""
    modules = [f"service/x/{number}.py" for number in range(14)]

    assert crowded([*modules, "service/x/__init__.py", "service/y/1.py"]) == []
    assert crowded([*modules, "service/x/14.py"]) == ["service/x has 15 modules"]


def test_own_bases_and_broad_excepts_are_noticed() -> None:
    """A class of ours as a base and a handler of everything are found; the tree of failures is not."""
    sources = {
        "a.py": "class Failure(Exception): ...\nclass Late(Failure): ...\nclass Body: ...\nclass Login(Body): ...\n",
        "b.py": "try:\n    pass\nexcept (OSError, Exception):\n    pass\n",
        "c.py": "try:\n    pass\nexcept BaseException:\n    undo()\n    raise\n",
    }

    assert own_bases(sources) == ["a.py: Login derives from Body"]
    assert broad_excepts(sources) == ["b.py:3"]
