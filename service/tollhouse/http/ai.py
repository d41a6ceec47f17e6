"""AI results over HTTP: any model, answered from the cache if the same input was answered before."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, RawBody
from msgspec import Struct, ValidationError, convert

from tollhouse.ai.canonical import CanonicalJson, off_loop, parse
from tollhouse.ai.results import Results
from tollhouse.asgi.cache_control import CacheControl, cache_control
from tollhouse.asgi.cache_headers import STORED, cache_headers
from tollhouse.asgi.disconnect import GONE, while_connected
from tollhouse.asgi.types import Receive
from tollhouse.cache.reading.result import CacheResult
from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import SESSION, problems
from tollhouse.http.problems import invalid_body, litestar_response, problem

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

    A client that disconnects leaves the queue of the model. `Cache-Control` may have `no-store` (the output is neither
    looked up nor stored), `no-cache` (it is loaded anew and stored), `max-age` and `min-fresh` (a stored one that is
    older, or lives shorter, is loaded anew) and `only-if-cached` (504 if none is stored).

    An object that names a member twice is refused, because parsers disagree on which of the two counts.
    """
    control = cache_control(request.scope["headers"])
    canonical = await off_loop(body, _input, body)
    if control.only_if_cached:
        return await _stored(results, model, canonical, control if use_cache else CacheControl(no_cache=True))
    work = _answer(results, model, canonical, control, use_cache=use_cache and not control.no_store)
    response = await while_connected(cast("Receive", request.receive), work)
    return litestar_response(GONE) if response is None else response


async def _stored(results: Results, model: str, canonical: CanonicalJson, control: CacheControl) -> Response[Any]:
    result = await results.stored(model, canonical, tenant=TENANT)
    if result is None or not control.accepts(result.age_ms, result.ttl_ms):
        headers = {"X-Cache": "MISS", "Cache-Status": "tollhouse; detail=only-if-cached"}
        return problem(504, "not-cached", "Not Cached", "no output is stored that answers this", headers=headers)
    return _response(model, result)


async def _answer(
    results: Results, model: str, canonical: CanonicalJson, control: CacheControl, *, use_cache: bool
) -> Response[Any]:
    fresh = control.no_cache
    result = await results.answer(model, canonical, tenant=TENANT, use_cache=use_cache, fresh=fresh)
    if result.status in STORED and not control.accepts(result.age_ms, result.ttl_ms):
        fresh = True
        result = await results.answer(model, canonical, tenant=TENANT, fresh=fresh)
    return _response(model, result, fresh=fresh)


def _input(body: bytes) -> CanonicalJson:
    canonical = parse(body)
    try:
        convert(canonical.value, AskBody)
    except ValidationError as error:
        raise invalid_body(error, AskBody, key="input") from error
    return canonical.only_member("input")


def _response(model: str, result: CacheResult[Any], *, fresh: bool = False) -> Response[Any]:
    return Response(AnswerBody(model=model, output=result.value), headers=cache_headers(result, fresh=fresh))


HANDLERS = [ask]
