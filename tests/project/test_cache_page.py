"""The pages about the cache state lifetimes and bounds as the code has them."""

from __future__ import annotations

import json
import re

import pytest

from tests.project.imports import ROOT
from tollhouse.cache.envelope import TAGS_MAX
from tollhouse.cache.permits import NOTES_MAX
from tollhouse.cache.reading.loader import DEFAULT_BOUNDS
from tollhouse.cache.reading.read_many import KEYS_MAX
from tollhouse.cache.ttl import HOLD_MS_MAX, JITTER_MAX, TTL_S_MAX, CacheTTL
from tollhouse.metrics import FAMILIES_MAX
from tollhouse.settings.model import CacheSettings

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs/cache.md").read_text(encoding="utf-8")
PROMISES = (ROOT / "docs/cache-promises.md").read_text(encoding="utf-8")
SECONDS = {"min": 60, "h": 3_600, "day": 86_400, "days": 86_400}

#   what the documents ask for: the data, and its lifetime
CHOICES = {
    "changes often": CacheTTL.VERY_SHORT,
    "changes moderately": CacheTTL.MEDIUM,
    "is stable": CacheTTL.LONG,
    "is static": CacheTTL.DAY,
}


def test_the_page_chooses_lifetimes_as_the_documents_do() -> None:
    """S0-28 to S0-30, S2-20, S4-50: 5 min for what changes, 30 min moderate, 1 h stable, 1 day static, by name."""
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (\d+ \w+ \| `\w+`)", PAGE, re.MULTILINE))

    assert {data: _lifetime(rows[data]) for data in CHOICES} == {
        data: (ttl.name, ttl.value) for data, ttl in CHOICES.items()
    }
    assert CacheSettings().ttl_s == CacheTTL.LONG


def test_the_pages_state_the_bounds_of_the_code() -> None:
    """Each bound that the pages give is the one of the code."""
    bounds = DEFAULT_BOUNDS

    assert f"from 1 to {TTL_S_MAX // 86_400} days" in PAGE
    assert f"and {JITTER_MAX} at most" in PAGE
    assert f"at most {TAGS_MAX} tags (a function's result {TAGS_MAX - 1})" in PAGE
    assert f"a lease of {bounds.lease_ms // 1000} s" in PROMISES
    assert f"renew, every {bounds.lease_ms / 3000:.1f} s" in PROMISES
    assert f"after {bounds.fill_ms / 1000} s" in PROMISES
    assert f"Loads of more than {bounds.load_ms // 60_000} min" in PROMISES
    assert f"| {bounds.wait_ms // 1000} s for the first, {bounds.wait_ms // 1000} s more" in PROMISES
    assert f"`hold_ms` up to {HOLD_MS_MAX:,}" in PROMISES
    assert f"{NOTES_MAX} keys that one task has missed" in PROMISES
    assert f"{TAGS_MAX} tags an entry ({TAGS_MAX - 1} of a function)" in PROMISES
    assert f"{bounds.entry_bytes // 1024**2} MiB an entry, {KEYS_MAX:,} keys a `get_many`" in PROMISES
    assert f"{FAMILIES_MAX} families in the metrics" in PROMISES


def test_the_published_figures_of_hits_are_those_that_are_asked_for() -> None:
    """S1-30, S2-02: with the cache, each route of the playground answers within 50 ms, at the 95th percentile."""
    figures = json.loads((ROOT / "bench/results/playground.json").read_text(encoding="utf-8"))["figures"]

    assert figures
    assert [each["route"] for each in figures if not each["with_p95_ms"] < 50] == []


def _lifetime(row: str) -> tuple[str, int]:
    """Return the name and the seconds of a row, such as "5 min | VERY_SHORT"."""
    number, unit, _, name = row.split()
    return name.strip("`"), int(number) * SECONDS[unit]
