"""Cache management over HTTP, for administrators."""

from __future__ import annotations

from typing import Any

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import FromQuery, JSONBody
from msgspec import Struct

from tollhouse.cache.cache import Cache
from tollhouse.cache.management.inspection import EntryReport
from tollhouse.cache.management.stats import CacheStats
from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import KEY, problems


class ExplainBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of a value."""

    key: str


@get("/stats", responses=problems(400, 401, 403, 429))
async def stats(cache: NamedDependency[Cache]) -> CacheStats:
    """Return hits, misses and sizes of the cache."""
    return await cache.stats()


@delete(
    "/",
    status_code=200,
    responses=problems(400, 401, 403, 429, 503),
    opt={"query": ("tag", "pattern", "all"), "several": ("tag",)},
)
async def invalidate(
    cache: NamedDependency[Cache],
    tag: FromQuery[list[str] | None] = None,
    pattern: FromQuery[str | None] = None,
    all: FromQuery[bool | None] = None,  # noqa: A002 - the name in the URL
) -> dict[str, Any]:
    """Invalidate by exactly one of `?tag=`, `?pattern=` (over readable key names) and `?all=true`.

    Several tags are invalidated together: `?tag=a&tag=b`.
    """
    chosen = [name for name, value in (("tag", tag), ("pattern", pattern), ("all", all)) if value]
    if len(chosen) != 1 or "" in (tag or ()):
        raise HTTPException("give exactly one of ?tag=, ?pattern= and ?all=true", status_code=400)
    if tag:
        await cache.invalidate_tags(*tag)
        return {"invalidated": "tag"}
    if pattern:
        return {"invalidated": "pattern", "deleted": await cache.delete_pattern(pattern)}
    return {"invalidated": "all", "deleted": await cache.clear_all()}


@post("/explain", status_code=200, responses=problems(400, 401, 403, 422, 429, 503))
async def explain(cache: NamedDependency[Cache], data: JSONBody[ExplainBody]) -> EntryReport:
    """Return what a read of a key would find, and why; nothing is changed or counted."""
    return await cache.inspection.key(data.key)


ROUTER = Router(
    "/v1/cache",
    route_handlers=[stats, invalidate, explain],
    guards=[require_role("admin")],
    opt={"auth": True},
    security=KEY,
)
