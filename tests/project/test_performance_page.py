"""The page about performance shows the figures of the committed results."""

from __future__ import annotations

import pytest

from bench.performance_page import PAGE, table
from tests.project.imports import ROOT

pytestmark = pytest.mark.project


def test_the_page_shows_the_committed_results() -> None:
    """Its table is the one that the results give: `python -m bench.performance_page` writes it."""
    assert table() in PAGE.read_text(encoding="utf-8")


def test_the_page_names_programs_that_are_there() -> None:
    """Each benchmark that the page names can be run."""
    named = {one.split("`")[0].split()[0] for one in PAGE.read_text(encoding="utf-8").split("bench.")[1:]}

    assert {name for name in named if not (ROOT / "bench" / f"{name}.py").exists()} == set()
