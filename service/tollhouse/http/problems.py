"""Problem details (RFC 9457): maps exceptions to HTTP responses.

`type` is stable: a URN of ours, or the IANA URI that the RateLimit draft requires. Clients may rely on `type`, `status`
and the members named here; `title` and `detail` are for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    NotAuthorizedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from msgspec import inspect

from tollhouse.ai.canonical import off_loop, parse
from tollhouse.asgi.ratelimit.headers import retry_after
from tollhouse.asgi.response import (
    HttpResponse,
    encode_headers,
    problem_response,
    send_response,
    unavailable_response,
)
from tollhouse.asgi.types import Send
from tollhouse.errors import InvalidInput, LoadFailed, LoadTimeout, Overloaded, PasskeysOff, StoreError, WeakPassword
from tollhouse.http.challenges import Impersonated, InsufficientAuthentication
from tollhouse.logs import Log, redact
from tollhouse.suggest import one_of

_log = Log("tollhouse.http")
_VALUE_MAX: Final = 200
_SHOWN_MAX: Final = 80
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_NOTHING_CHANGED: Final = "a store does not answer; nothing was changed, and the request may be sent again"
_STOPPED: Final = "the service ends; what was requested may have been done, or a part of it"
_MAY_HAVE_RUN: Final = "a store did not answer in time; what was requested may have been done, or a part of it"
_UNKNOWN = re.compile(r"((?:Object contains unknown field `|Invalid enum value ')([^`']*)[`'])( - at `\$([^`]*)`)?")
"""A message of msgspec for a name that is none of those known: of a member, or of a value."""
_STEP = re.compile(r"\.(\w+)|\[")
"""A step of a path: a member of an object, or an item of an array."""
_TYPES = re.compile(r"(Expected|got) `([a-z |]+)`")
_JSON_TYPES: Final[Mapping[str, str]] = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "str": "string",
    "bytes": "string",
}
"""The names of JSON's types for those of Python; array, object and null have the same name in messages of msgspec."""
_UNIQUE: Final = "unique_members"
UNIQUE_MEMBERS: Final = {_UNIQUE: True}
"""The `opt` of a route that refuses a body with an object that names a member twice."""
_BODY: Final = "data"
"""The name that Litestar gives to the parameter for the body."""
_BY_STATUS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid-request", "Invalid Request"),
    401: ("not-authenticated", "Not Authenticated"),
    403: ("not-allowed", "Not Allowed"),
    404: ("not-found", "Not Found"),
    405: ("method-not-allowed", "Method Not Allowed"),
    413: ("body-too-large", "Body Too Large"),
    415: ("unsupported-media-type", "Unsupported Media Type"),
    422: ("invalid-input", "Invalid Input"),
}


def problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    *,
    members: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[bytes]:
    """Return problem details as Litestar's own response; `kind` is a word of ours or a whole URI."""
    return litestar_response(problem_response(status, kind, title, detail, members, encode_headers(headers or {})))


def litestar_response(response: HttpResponse) -> Response[Any]:
    """Return a response made without a framework as Litestar's own."""
    headers = response.text_headers()
    return Response(response.body, status_code=response.status, headers=headers, media_type=response.media_type)


async def answer_stopped(send: Send) -> bool:
    """Answer a request that ends before its work does with 503; return False if its response has begun already."""
    try:
        await send_response(unavailable_response(_STOPPED, {"outcome": "ambiguous"}), send)
    except RuntimeError:  # of the server, which sends one response to a request
        return False
    return True


def _of_invalid_input(_: Request[Any, Any, Any], error: InvalidInput) -> Response[Any]:
    """Return 422 with the value, but not with a session token that a client put in its place, as into the path."""
    value = redact(error.value) if isinstance(error.value, str) else error.value
    rules = {"rules": error.rules} if isinstance(error, WeakPassword) else {}
    members = {"field": error.field, "value": _bounded(value), "remedy": error.remedy, **rules}
    return problem(422, error.kind, error.kind.replace("-", " ").title(), redact(_detail(error)), members=members)


def _detail(error: InvalidInput) -> str:
    """Return the error with its value as clients write it: null, true, arrays and objects as in JSON."""
    if isinstance(error.value, str | bytes | int | float) and not isinstance(error.value, bool):
        return str(error)
    return f"{error.field}: {_json_text(error.value, _SHOWN_MAX)}: {error.remedy}"


def _of_overload(_: Request[Any, Any, Any], error: Overloaded) -> Response[Any]:
    headers = retry_after(error.retry_after_ms)
    return litestar_response(problem_response(503, "overloaded", "Overloaded", str(error), headers=headers))


def _of_load_failure(_: Request[Any, Any, Any], error: LoadFailed) -> Response[Any]:
    _log.error("model failed", extra={"model": str(error)}, exc_info=error.__cause__)
    return problem(502, "model-failed", "Model Failed", "the model failed; nothing was cached")


def _of_load_timeout(_: Request[Any, Any, Any], error: LoadTimeout) -> Response[Any]:
    _log.error("model too slow", extra={"model": str(error)})
    return problem(504, "model-timeout", "Model Timeout", "the model took too long; nothing was cached")


def _of_store_error(_: Request[Any, Any, Any], error: StoreError) -> Response[Any]:
    _log.warning("store unavailable", extra={"reason": str(error), "outcome": error.outcome})
    detail = _MAY_HAVE_RUN if error.outcome == "ambiguous" else _NOTHING_CHANGED
    return litestar_response(unavailable_response(detail, {"outcome": error.outcome}))


def _of_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    headers = dict(error.headers or {})
    if isinstance(error, ValidationException) or isinstance(error.__cause__, SerializationException):
        return _of_validation(request, error)
    if isinstance(error, NotFoundException):
        return problem(404, "not-found", "Not Found", "there is no such resource")
    if isinstance(error, NotAuthorizedException):
        headers.setdefault("WWW-Authenticate", "Bearer")
    kind, title = _BY_STATUS.get(error.status_code, ("failed", "Failed"))
    members = error.extra if isinstance(error.extra, dict) else None
    return problem(error.status_code, kind, title, error.detail, members=members, headers=headers)


def _of_passkeys_off(_: Request[Any, Any, Any], error: PasskeysOff) -> Response[Any]:
    return problem(404, "passkeys-off", "Passkeys Off", str(error), members={"setting": error.setting})


def _of_insufficient(_: Request[Any, Any, Any], error: InsufficientAuthentication) -> Response[Any]:
    kind, title = "insufficient-user-authentication", "Insufficient User Authentication"
    return problem(401, kind, title, error.detail, members=error.members, headers=error.headers)


def _of_impersonated(_: Request[Any, Any, Any], error: Impersonated) -> Response[Any]:
    return problem(403, "impersonated", "Impersonated", error.detail)


def _of_validation(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Return 400 with the field that is wrong; its value is not repeated, because it may be a secret."""
    first: dict[str, Any] = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    message = str(first.get("message") or error.__cause__ or error.detail)
    match = _PATH.search(message)
    key = str(first.get("key") or "")
    if key != _BODY and (parameter := request.route_handler.parsed_fn_signature.parameters.get(key)):
        message = _with_known(message, parameter.annotation)
        key = getattr(parameter.kwarg_definition, "name", None) or key
    field = (key if key != _BODY else "") or (match[1] if match else "") or "body"
    if message == repr(_BODY):
        return _invalid_request(field, "send a JSON object with the members of this route")
    return _invalid_request(field, _TYPES.sub(_in_json_types, _PATH.sub("", message)))


async def refuse_other_types(request: Request[Any, Any, Any]) -> None:
    """Raise 400 for a body with a member of another type: Litestar would read the text "1" as the number 1.

    A number without a fraction is an integer, however it is written.
    """
    data = request.route_handler.parsed_fn_signature.parameters.get(_BODY)
    if data is None or not (body := await request.body()):
        return
    try:
        msgspec.convert(_BODIES.decode(body), data.raw)
    except msgspec.DecodeError as error:
        raise invalid_body(error, data.raw) from error
    if request.route_handler.opt.get(_UNIQUE):
        await _refuse_ambiguous(body)


async def _refuse_ambiguous(body: bytes) -> None:
    """Raise 400 for an object that names a member twice: parsers disagree on which of the two counts."""
    try:
        await off_loop(body, parse, body)
    except InvalidInput as error:
        raise ValidationException(extra=[{"message": error.remedy}]) from error


def invalid_body(error: msgspec.DecodeError, kind: Any, **named: str) -> ValidationException:
    """Return the exception for a body that is not of this type; an unknown member gets the one that may be meant.

    `key` names the field at fault, if the error does not.
    """
    return ValidationException(extra=[{"message": _with_known(str(error), kind), **named}])


def _with_known(message: str, kind: Any) -> str:
    """Return the message, with the names that this type has if it is about one that the type has not."""
    if found := _UNKNOWN.fullmatch(message):
        known = _names(inspect.type_info(kind), _STEP.findall(found[4] or ""))
        return f"{found[1]}; {one_of(found[2], known)}{found[3] or ''}"
    return message


def _names(kind: inspect.Type, steps: Sequence[str]) -> tuple[str, ...]:
    """Return the members of the object, or the values of the enumeration, that the steps lead to, from a type.

    The name of a step into an array is "".
    """
    match kind:
        case inspect.Metadata():
            return _names(kind.type, steps)
        case inspect.StructType() if steps:
            below = next(field.type for field in kind.fields if field.encode_name == steps[0])
            return _names(below, steps[1:])
        case inspect.StructType():
            return tuple(field.encode_name for field in kind.fields)
        case inspect.CollectionType() if steps:
            return _names(kind.item_type, steps[1:])
        case inspect.LiteralType():
            return tuple(map(str, kind.values))
        case inspect.UnionType():
            return tuple(name for one in kind.types for name in _names(one, steps))
        case _:
            return ()


def _json_number(text: str) -> int | float:
    return int(number) if (number := float(text)).is_integer() else number


def _in_json_types(found: re.Match[str]) -> str:
    """Return an expected or given type in the words of JSON, which clients write in."""
    kinds = " | ".join(_JSON_TYPES.get(kind, kind) for kind in found[2].split(" | "))
    return f"{found[1]} `{kinds}`"


def _of_undecodable(_: Request[Any, Any, Any], error: UnicodeDecodeError | RecursionError) -> Response[Any]:
    """Return 400 for a body that is not UTF-8, or nested too deeply: Litestar does not catch these errors."""
    return _invalid_request("body", "nest fewer levels" if isinstance(error, RecursionError) else "send UTF-8")


def _invalid_request(field: str, remedy: str) -> Response[Any]:
    members = {"field": field, "remedy": remedy}
    return problem(400, "invalid-request", "Invalid Request", f"{field}: {remedy}", members=members)


def _of_anything_else(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    route = cast("Any", request.scope).get("path_template", "")  # the path itself may have a secret in it
    _log.error("unexpected failure", extra={"route": route}, exc_info=error)
    return problem(500, "internal-error", "Internal Error", "an unexpected failure; see the log of the service")


def _bounded(value: object) -> object:
    """Return a value that a client sent, cut to 200 characters."""
    if isinstance(value, str | int | float | bool | None):
        return value if len(text := str(value)) <= _VALUE_MAX else text[:_VALUE_MAX]
    return _json_text(value, _VALUE_MAX)


def _json_text(value: object, characters_max: int) -> str:
    try:
        return msgspec.json.encode(value)[:characters_max].decode(errors="replace")
    except TypeError:
        return type(value).__name__


_BODIES: Final = msgspec.json.Decoder(float_hook=_json_number)

HANDLERS: Final[Mapping[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]] = {
    InvalidInput: _of_invalid_input,
    Overloaded: _of_overload,
    PasskeysOff: _of_passkeys_off,
    LoadFailed: _of_load_failure,
    LoadTimeout: _of_load_timeout,
    UnicodeDecodeError: _of_undecodable,
    RecursionError: _of_undecodable,
    StoreError: _of_store_error,
    InsufficientAuthentication: _of_insufficient,
    Impersonated: _of_impersonated,
    HTTPException: _of_http_exception,
    Exception: _of_anything_else,
}
"""The handlers of all exceptions from routes and middleware."""
