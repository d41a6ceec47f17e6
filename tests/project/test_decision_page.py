"""docs/decision.md has the fields, reasons and statuses of the code, no more and no fewer."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from msgspec.structs import fields

from tests.project.imports import ROOT
from tollhouse.asgi.ratelimit.refusal_response import refusal_response
from tollhouse.limits.decision import Decision, LimitState, Reason

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs" / "decision.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (.+) \|$")
STATUS = re.compile(r"HTTP says (\d{3})")
QUOTA = 429
"""The status of a refusal whose row names none."""


FIELDS = "| field | type | says |"
ALLOWED = {"within-limits", "shadow", "allow-listed", "disabled"}
REASONS = "| reason | allowed | means |"


def rows(head: str, after: str = "") -> dict[str, str]:
    """Return the first table with this head behind a text: what the first column names, and the other columns."""
    table = PAGE.partition(after)[2] if after else PAGE
    lines = table.partition(f"{head}\n")[2].partition("\n\n")[0].splitlines()
    return {found[1]: found[2] for line in lines if (found := ROW.match(line))}


@pytest.mark.parametrize(("kind", "after"), [(Decision, ""), (LimitState, "A `LimitState` has")])
def test_the_page_has_the_fields_of_a_type(kind: type, after: str) -> None:
    """Each field has a row, in the order of the type; a field that may be None says so."""
    shown = rows(FIELDS, after)

    assert list(shown) == [one.name for one in fields(kind)]
    for one in fields(kind):
        assert ("or None" in shown[one.name].partition("|")[0]) == (type(None) in get_args(one.type))


def test_the_page_has_the_reasons() -> None:
    """Each reason has a row, in the order of the type."""
    shown = rows(REASONS)

    assert tuple(shown) == get_args(Reason)
    assert {reason for reason, columns in shown.items() if columns.startswith("yes")} == ALLOWED


@pytest.mark.parametrize("reason", sorted({*get_args(Reason)} - ALLOWED - {"all-or-nothing"}))
def test_the_page_has_the_status_of_a_refusal(reason: Reason) -> None:
    """A row names the status of its refusal if that is not 429; `all-or-nothing` never decides a response."""
    refusal = Decision(
        allowed=False, policy="api", key="ada", cost=1, limits=(), retry_after_ms=None, refused_by=None, reason=reason
    )
    named = STATUS.search(rows(REASONS)[reason])

    assert refusal_response(refusal).status == (QUOTA if named is None else int(named[1]))
