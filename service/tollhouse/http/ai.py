"""AI results over HTTP: any model, answered from the cache if the same input was answered before."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, RawBody
from msgspec import Struct, ValidationError, convert

from tollhouse.ai.canonical import CanonicalJson, off_loop, parse
from tollhouse.ai.results import Results
from tollhouse.asgi.disconnect import GONE, while_connected
from tollhouse.asgi.types import Receive
from tollhouse.cache.reading.result import CacheResult
from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import SESSION, problems
from tollhouse.http.problems import invalid_body, litestar_response

TENANT: Final = "public"
"""The output of models in this process depends only on the input, so all callers share cached results."""


class AskBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input: any JSON that the model accepts."""

    input: Any


class AnswerBody(Struct, frozen=True, kw_only=True):
    """The output of a model."""

    model: str
    output: Any


@post(
    "/v1/ai/{model:str}",
    status_code=200,
    guards=[require_role("service", "session")],
    opt={"auth": True, "rate_limit": "ai", "query": ("use_cache",)},
    responses=problems(400, 401, 403, 422, 429, 502, 503, 504),
    security=[*SESSION, {"key": []}],
)
async def ask(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    body: RawBody,
    results: NamedDependency[Results],
    use_cache: FromQuery[bool] = True,  # noqa: FBT002 - a query parameter
) -> Response[AnswerBody]:
    """Answer `{"input": any JSON}` with the model's output; `X-Cache` names its source.

    A client that disconnects leaves the queue of the model.
    An object that names a member twice is refused, because parsers disagree on which of the two counts.
    """
    cached = use_cache and "no-cache" not in request.headers.get("cache-control", "").lower()
    work = results.answer(model, await off_loop(body, _input, body), tenant=TENANT, use_cache=cached)
    result = await while_connected(cast("Receive", request.receive), work)
    if result is None:
        return litestar_response(GONE)
    return Response(AnswerBody(model=model, output=result.value), headers=_headers(result))


def _input(body: bytes) -> CanonicalJson:
    canonical = parse(body)
    try:
        convert(canonical.value, AskBody)
    except ValidationError as error:
        raise invalid_body(error, AskBody, key="input") from error
    return canonical.only_member("input")


def _headers(result: CacheResult[Any]) -> dict[str, str]:
    """Return the cache headers: X-Cache, Cache-Status (RFC 9211), and Age for a stored output."""
    headers = {"X-Cache": result.status, "Cache-Status": _STATUS[result.status]}
    if result.status == "MISS" and result.ttl_ms > 0:
        headers["Cache-Status"] += "; stored"
    if result.status in ("HIT", "STALE"):
        headers["Age"] = str(result.age_ms // 1000)
        headers["Cache-Status"] += f"; ttl={result.ttl_ms // 1000}"
    return headers


_STATUS: Final = {
    "HIT": "tollhouse; hit",
    "STALE": "tollhouse; hit",
    "MISS": "tollhouse; fwd=uri-miss",
    "COALESCED": "tollhouse; fwd=uri-miss; collapsed",
    "BYPASS": "tollhouse; fwd=bypass",
    "DISABLED": "tollhouse; fwd=bypass; detail=disabled",
}
HANDLERS = [ask]
