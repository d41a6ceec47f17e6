"""The data of the caller's session over HTTP: read it, change it, take a value out, count.

A change names only what it changes, so requests side by side lose nothing of each other. With `If-Match` it is done
only if nothing else was changed since.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, Final, assert_never

from litestar import Request, Response, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tollhouse.errors import InvalidInput
from tollhouse.http.authentication import current_token, no_session
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.http.sessions.etags import etag, expected_version, is_current
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import DATA_BYTES_MAX, DATA_NAMES_MAX, DataRefused, DataResult

_ETAG_FIELD: Final = ResponseHeader(name="ETag", documentation_only=True, description="The version, for If-Match.")
_UNCHANGED: Final = ResponseSpec(None, generate_examples=False, description="The client has this version already.")
_CHANGE: Final = problems(400, 401, 403, 413, 415, 422, 429, 503)

_Name = Annotated[str, Meta(description="1 to 64 of a-z, A-Z, 0-9, '_', '.', ':' and '-'.", examples=["visits"])]


class DataBody(Struct, frozen=True, kw_only=True):
    """The values of a session by name, and their version, which every change raises."""

    values: dict[str, Any]
    version: int


class VersionBody(Struct, frozen=True, kw_only=True):
    """The version of the data after a change."""

    version: int


class ValueBody(Struct, frozen=True, kw_only=True):
    """The value that was taken, null if there was none, or the sum; and the version of the data after it."""

    value: Any
    version: int


class NameBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value by its name."""

    name: _Name


class IncrementBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number by its name, and what is added to it."""

    name: _Name
    by: Annotated[int, Meta(description="A whole number of at most 14 digits; negative ones count down.")] = 1


@get(
    "/session/data",
    responses={304: _UNCHANGED, **problems(400, 401, 403, 429, 503)},
    response_headers=[_ETAG_FIELD],
)
async def get_data(request: Request[Any, Any, Any], sessions: NamedDependency[Sessions]) -> Response[Any]:
    """Return the data of the caller's session; 304 if `If-None-Match` has its version."""
    data = await sessions.data(current_token(request))
    if data is None:
        raise no_session()
    headers = {"ETag": etag(data.version)}
    if is_current(request.headers.getall("if-none-match", []), data.version):
        return Response(None, status_code=304, headers=headers)
    return Response(DataBody(values=dict(data.values), version=data.version), headers=headers)


@patch(
    "/session/data",
    responses={412: problems(412)[412], **_CHANGE},
    response_headers=[_ETAG_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def patch_data(
    request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]], sessions: NamedDependency[Sessions]
) -> Response[Any]:
    """Set the values that the object names, and remove those that are null; the others stay.

    A value is replaced whole, also an object. With `If-Match` the data must have that version, else it is 412.
    """
    expected = expected_version(request.headers.getall("if-match", []))
    if isinstance(expected, str):
        return _another_version(None)
    with _changes_named("body"):
        result = await sessions.patch(current_token(request), data, version=expected)
    match result:
        case DataResult():
            return Response(VersionBody(version=result.version), headers={"ETag": etag(result.version)})
        case DataRefused():
            return _refusal(result)
        case _:
            assert_never(result)


@post("/session/data/take", status_code=200, responses=_CHANGE, response_headers=[_ETAG_FIELD], opt=UNIQUE_MEMBERS)
async def take(
    request: Request[Any, Any, Any], data: JSONBody[NameBody], sessions: NamedDependency[Sessions]
) -> Response[Any]:
    """Remove a value and return it, null if there is none: of requests side by side only one gets it."""
    return _value(await sessions.take(current_token(request), data.name))


@post(
    "/session/data/increment",
    status_code=200,
    responses={409: problems(409)[409], **_CHANGE},
    response_headers=[_ETAG_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def increment(
    request: Request[Any, Any, Any], data: JSONBody[IncrementBody], sessions: NamedDependency[Sessions]
) -> Response[Any]:
    """Add to a whole number, from 0 if there is none, and return the sum; 409 if the value is another one."""
    return _value(await sessions.increment(current_token(request), data.name, data.by))


@contextmanager
def _changes_named(field: str) -> Generator[None]:
    """Report a wrong number of changes under the name that HTTP has for them."""
    try:
        yield
    except InvalidInput as error:
        if error.field != "changes":
            raise
        raise InvalidInput(field, error.value, error.remedy, kind=error.kind) from error


def _value(result: DataResult | DataRefused) -> Response[Any]:
    match result:
        case DataResult():
            body = ValueBody(value=result.value, version=result.version)
            return Response(body, headers={"ETag": etag(result.version)})
        case DataRefused():
            return _refusal(result)
        case _:
            assert_never(result)


def _refusal(refused: DataRefused) -> Response[Any]:
    match refused.reason:
        case "over":
            raise no_session()
        case "version":
            return _another_version(refused.version)
        case "too-large":
            bounds = {"bytes_max": DATA_BYTES_MAX, "values_max": DATA_NAMES_MAX}
            detail = f"the data may have {DATA_BYTES_MAX} bytes of names and values, and {DATA_NAMES_MAX} values"
            return problem(413, "data-too-large", "Data Too Large", detail, members=bounds)
        case "not-a-number":
            detail = "the value is no whole number, or the sum has more than 14 digits"
            return problem(409, "not-a-number", "Not A Number", detail)
        case _:
            assert_never(refused.reason)


def _another_version(version: int | None) -> Response[Any]:
    headers = {} if version is None else {"ETag": etag(version)}
    detail = "the data has another version: read it, and send the change with its ETag"
    members = {"version": version}
    return problem(412, "version-mismatch", "Version Mismatch", detail, members=members, headers=headers)


HANDLERS = [get_data, patch_data, take, increment]
