"""The page of features: what it calls done is named by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.project.imports import ROOT

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs/features.md").read_text(encoding="utf-8")
ITEM = re.compile(r"\b(C|S\d)-(\d+)(?: to (?:C|S\d)-(\d+))?")


def test_what_is_done_is_named_by_a_test() -> None:
    """Each item of a row that is done has its number in the text of a test."""
    done = [line.split("|")[2] for line in PAGE.splitlines() if line.rstrip().endswith("| done |")]
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))

    assert done
    assert sorted({*_items("\n".join(done))} - {*_items(tests)}) == []


def _items(text: str) -> Iterator[str]:
    """Yield the items that a text names, those of a range one by one."""
    for source, first, last in ITEM.findall(text):
        yield from (f"{source}-{number}" for number in range(int(first), int(last or first) + 1))
