"""docs/asvs.md is what the marked tests say, and each requirement that applies has one."""

from __future__ import annotations

import pytest

from tests.project.asvs import REQUIREMENTS, marked, page
from tests.project.imports import ROOT

pytestmark = pytest.mark.project

NOT_YET: tuple[str, ...] = ()
"""Requirements that nothing shows as yet."""


def test_the_page_is_what_the_tests_say() -> None:
    """Run `python -m tests.project.asvs > docs/asvs.md` after marking a test."""
    assert (ROOT / "docs/asvs.md").read_text(encoding="utf-8") == page()


def test_a_mark_names_a_requirement() -> None:
    """A mistyped number would show nothing."""
    assert set(marked()) <= set(REQUIREMENTS)


@pytest.mark.parametrize("number", REQUIREMENTS)
def test_a_requirement_is_shown_or_told(number: str) -> None:
    """Each requirement has a test, or says why none of ours can show it; never both, and none is left out silently."""
    told = bool(REQUIREMENTS[number].instead) or number in NOT_YET
    assert (number in marked()) is not told
