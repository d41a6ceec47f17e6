"""docs/session-events.md has the kinds, the gaps and the bounds of the code."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from tests.project.imports import ROOT
from tollhouse.http.sessions.event_stream import PACE, STREAMS_MAX
from tollhouse.sessions.events.event import KINDS
from tollhouse.sessions.events.reader import KEPT_EVENTS, KEPT_MS, OVERLAP_MS, GapReason

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs/session-events.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z-]+)` \| (.+) \|$", re.MULTILINE)


def rows(heading: str) -> dict[str, str]:
    """Return the rows of a section, by their first column."""
    return dict(ROW.findall(PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]))


def test_the_page_has_every_kind() -> None:
    """A new kind of event needs its row, in the words of the code."""
    assert rows("Kinds") == KINDS


def test_the_page_has_every_reason_of_a_gap() -> None:
    """Each reason has a row, and each row is a reason."""
    assert set(rows("What is guaranteed")) == set(get_args(GapReason))


def test_the_page_has_the_bounds_of_the_code() -> None:
    """Streams of a process, heartbeats, the overlap, and how much is kept."""
    for text in (
        f"A process serves {STREAMS_MAX} streams",
        f"a comment every {PACE.heartbeat_s:.0f} s",
        f"the last {OVERLAP_MS // 1000} s when",
        f"about {KEPT_EVENTS:,} events of each",
        f"{KEPT_MS // 86_400_000} days after",
    ):
        assert text in PAGE
