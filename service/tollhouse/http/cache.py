"""Cache management over HTTP, for administrators."""

from __future__ import annotations

from typing import Any

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, ValidationException
from litestar.params import FromQuery, JSONBody, RawBody
from msgspec import UNSET, Struct, UnsetType

from tollhouse.ai.canonical import off_loop, parse
from tollhouse.ai.results import Results
from tollhouse.cache.cache import Cache
from tollhouse.cache.management.inspection import EntryReport
from tollhouse.cache.management.stats import CacheStats
from tollhouse.http.ai import TENANT
from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import KEY, problems


class ExplainBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of a value, or a model and an input: any JSON that the model accepts."""

    key: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    input: Any = UNSET


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
async def explain(
    cache: NamedDependency[Cache], results: NamedDependency[Results], data: JSONBody[ExplainBody], body: RawBody
) -> EntryReport:
    """Return what a read of a key would find, or a request for the output of a model, and why.

    Nothing is changed or counted, and the value is not shown.
    """
    return await cache.inspection.key(await _key(results, data, body))


async def _key(results: Results, data: ExplainBody, body: bytes) -> str:
    """Return the key that is meant; raise ValidationException unless it is exactly one."""
    match data.key, data.model, data.input is not UNSET:
        case str(key), UnsetType(), False:
            return key
        case UnsetType(), str(model), True:
            sent = await off_loop(body, parse, body)  # as for results, no member may come twice
            return await results.key(model, sent.value["input"], tenant=TENANT)
        case _:
            message = "give either key, or model and input"
            raise ValidationException(extra=[{"message": message, "key": _wrong_member(data)}])


def _wrong_member(data: ExplainBody) -> str:
    """Return a member that is one too many, or that is missing."""
    given = [name for name in ("key", "model", "input") if getattr(data, name) is not UNSET]
    if not given:
        return "key"
    if given[0] == "key":
        return given[1]
    return "input" if given == ["model"] else "model"


ROUTER = Router(
    "/v1/cache",
    route_handlers=[stats, invalidate, explain],
    guards=[require_role("admin")],
    opt={"auth": True},
    security=KEY,
)
