"""AI results over HTTP: any model, answered from the cache where the same input was answered before."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.params import FromPath, FromQuery, RawBody
from msgspec import Struct, ValidationError, convert

from tollhouse.ai.canonical import parse
from tollhouse.ai.results import Answered, Results
from tollhouse.http.authentication import require_role

TENANT: Final = "public"
"""Models in this process depend on nothing but their input, so callers share their answers."""


class AskBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input of a model: any JSON that the model accepts."""

    input: Any


class AnswerBody(Struct, frozen=True, kw_only=True):
    """What a model answered."""

    model: str
    output: Any


@post(
    "/v1/ai/{model:str}",
    status_code=200,
    guards=[require_role("service", "session")],
    opt={"auth": True, "rate_limit": "ai", "query": ("use_cache",)},
)
async def ask(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    body: RawBody,
    results: NamedDependency[Results],
    use_cache: FromQuery[bool] = True,  # noqa: FBT002 - a query parameter
) -> Response[AnswerBody]:
    """Answer `{"input": any JSON}` with the model's output; `X-Cache` tells where it came from.

    An object that names a member twice is refused: which of the two is meant, readers disagree on.
    """
    cached = use_cache and "no-cache" not in request.headers.get("cache-control", "").lower()
    answered = await results.answer(model, _input(body), tenant=TENANT, use_cache=cached)
    return Response(AnswerBody(model=model, output=answered.output), headers=_headers(answered))


def _input(body: bytes) -> Any:
    try:
        return convert(parse(body).value, AskBody).input
    except ValidationError as error:
        raise ValidationException(extra=[{"message": str(error), "key": "input"}]) from error


def _headers(answered: Answered) -> dict[str, str]:
    """Tell of the cache three ways: X-Cache, Cache-Status (RFC 9211), and Age on what was stored before."""
    headers = {"X-Cache": answered.result, "Cache-Status": _STATUS[answered.result], "Cache-Control": "no-store"}
    if answered.result == "MISS" and answered.ttl_ms > 0:
        headers["Cache-Status"] += "; stored"
    if answered.result in ("HIT", "STALE"):
        headers["Age"] = str(answered.age_ms // 1000)
        headers["Cache-Status"] += f"; ttl={answered.ttl_ms // 1000}"
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
