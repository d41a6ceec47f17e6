"""Headers of a response that show how its value was found: X-Cache, Cache-Status (RFC 9211), Age, Cache-Control."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tollhouse.cache.reading.loader import CacheStatus
from tollhouse.cache.reading.result import CacheResult

STORED: Final = frozenset({"HIT", "STALE"})
"""The statuses of values that were stored before."""

_FRESH: Final = "tollhouse; fwd=request"
_STATUS: Final[Mapping[CacheStatus, str]] = MappingProxyType(
    {
        "HIT": "tollhouse; hit",
        "STALE": "tollhouse; hit",
        "MISS": "tollhouse; fwd=uri-miss",
        "COALESCED": "tollhouse; fwd=uri-miss; collapsed",
        "BYPASS": "tollhouse; fwd=bypass",
        "DISABLED": "tollhouse; fwd=bypass; detail=disabled",
    }
)


def cache_headers(result: CacheResult[Any], *, fresh: bool = False, max_age: bool = False) -> dict[str, str]:
    """Return the headers of a response that shows a value: X-Cache, Cache-Status, and Age if it was stored before.

    X-Cache is the status of the result. Give `fresh` if the value was loaded anew because the request asked for that.
    With `max_age` clients may keep a response for as long as the value is stored: Cache-Control has the whole lifetime,
    of which Age has passed. An invalidation does not reach them; without `max_age` they ask each time.
    """
    headers = {"X-Cache": result.status, "Cache-Status": _cache_status(result, fresh=fresh)}
    age_s = result.age_ms // 1000
    if result.status in STORED:
        headers["Age"] = str(age_s)
    if max_age and result.ttl_ms > 0:
        headers["Cache-Control"] = f"max-age={age_s + result.ttl_ms // 1000}"
    return headers


def _cache_status(result: CacheResult[Any], *, fresh: bool) -> str:
    is_miss = result.status == "MISS"
    status = _FRESH if fresh and is_miss else _STATUS[result.status]
    if is_miss and result.ttl_ms > 0:
        return f"{status}; stored"
    return f"{status}; ttl={result.ttl_ms // 1000}" if result.status in STORED else status
