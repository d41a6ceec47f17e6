"""Headers of cached values: the source, in the words of people and in those of RFC 9211."""

from __future__ import annotations

from typing import get_args

import pytest

from tollhouse.asgi.cache_headers import cache_headers
from tollhouse.cache.reading.loader import CacheStatus
from tollhouse.cache.reading.result import CacheResult

#    status, age_ms, ttl_ms, fresh, headers
TABLE: list[tuple[CacheStatus, int, int, bool, dict[str, str]]] = [
    ("HIT", 2_900, 9_900, False, {"Cache-Status": "tollhouse; hit; ttl=9", "Age": "2"}),
    ("STALE", 9_000, -1_500, False, {"Cache-Status": "tollhouse; hit; ttl=-2", "Age": "9"}),
    ("MISS", 0, 60_000, False, {"Cache-Status": "tollhouse; fwd=uri-miss; stored"}),
    ("MISS", 0, 0, False, {"Cache-Status": "tollhouse; fwd=uri-miss"}),  # above the bound, or refused
    ("MISS", 0, 60_000, True, {"Cache-Status": "tollhouse; fwd=request; stored"}),
    ("BYPASS", 0, 0, True, {"Cache-Status": "tollhouse; fwd=bypass"}),
    ("COALESCED", 0, 60_000, False, {"Cache-Status": "tollhouse; fwd=uri-miss; collapsed"}),
    ("BYPASS", 0, 0, False, {"Cache-Status": "tollhouse; fwd=bypass"}),
    ("DISABLED", 0, 0, False, {"Cache-Status": "tollhouse; fwd=bypass; detail=disabled"}),
]


@pytest.mark.parametrize(("status", "age_ms", "ttl_ms", "fresh", "headers"), TABLE)
def test_each_status_has_its_headers(
    status: CacheStatus, age_ms: int, ttl_ms: int, fresh: bool, headers: dict[str, str]
) -> None:
    """S0-35, S1-26: X-Cache is the status; Cache-Status says why; Age is there for what was stored before."""
    result = CacheResult(value=None, status=status, age_ms=age_ms, ttl_ms=ttl_ms, load_ms=1)

    assert cache_headers(result, fresh=fresh) == {"X-Cache": status, **headers}


def test_no_status_is_left_out() -> None:
    """Every status that a result can have has headers."""
    assert {row[0] for row in TABLE} == set(get_args(CacheStatus))


#    status, age_ms, ttl_ms, Cache-Control
LIFETIMES: list[tuple[CacheStatus, int, int, str | None]] = [
    ("MISS", 0, 60_000, "max-age=60"),
    ("HIT", 2_900, 57_100, "max-age=59"),  # of which Age says that 2 have passed: 57 are left
    ("HIT", 59_500, 500, "max-age=59"),
    ("COALESCED", 0, 59_999, "max-age=59"),
    ("MISS", 0, 0, None),  # not stored
    ("STALE", 9_000, -1_500, None),
    ("BYPASS", 0, 0, None),
    ("DISABLED", 0, 0, None),
]


@pytest.mark.parametrize(("status", "age_ms", "ttl_ms", "expected"), LIFETIMES)
def test_clients_may_keep_what_is_stored(status: CacheStatus, age_ms: int, ttl_ms: int, expected: str | None) -> None:
    """S0-36: with `max_age` Cache-Control has the lifetime, of which Age has passed; without it there is none."""
    result = CacheResult(value=None, status=status, age_ms=age_ms, ttl_ms=ttl_ms, load_ms=1)

    assert cache_headers(result, max_age=True).get("Cache-Control") == expected
    assert "Cache-Control" not in cache_headers(result)
