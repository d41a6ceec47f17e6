"""Sessions of any user over HTTP, for administrators: list and end them, disable and enable the user.

A user's id in a path is percent-encoded by the client, also a slash, and decoded once, here. So each user can be named.
"""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from tollhouse.accounts.accounts import Accounts
from tollhouse.asgi.types import App, Receive, Scope, Send
from tollhouse.errors import InvalidInput
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.sessions.bodies import device_bodies
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.validation import USER_CHARACTERS_MAX, valid_text

_USERS: Final = "/v1/admin/users/"
_PROBLEMS: Final = problems(400, 401, 403, 422, 429, 503)


def keep_users_encoded(app: App) -> App:
    """Wrap the application so that a user's id with a slash is one segment of the path, as it was sent.

    A server decodes the path before the application sees it.
    """

    async def keeping(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"%" in (sent := scope.get("raw_path") or b"") and _names_user(scope):
            scope = {**scope, "path": sent.decode("latin-1")}
        await app(scope, receive, send)

    return keeping


@get("/{uid:str}/sessions", responses=_PROBLEMS)
async def list_sessions_of_user(
    request: Request[Any, Any, Any], uid: FromPath[str], sessions: NamedDependency[Sessions]
) -> Response[Any]:
    """List the sessions of a user, the most recently used first; a user without any may not exist at all."""
    return Response(device_bodies(await sessions.list(user_of_path(request, uid))))


@delete("/{uid:str}/sessions", status_code=204, responses=_PROBLEMS, response_headers=[DURABLE_FIELD])
async def revoke_sessions_of_user(
    request: Request[Any, Any, Any], uid: FromPath[str], sessions: NamedDependency[Sessions]
) -> Response[None]:
    """End all sessions of a user, who may log in again."""
    result = await sessions.revoke_all(user_of_path(request, uid), cause="revoked-by-admin")
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


@delete(
    "/{uid:str}/sessions/{sid:str}",
    status_code=204,
    responses=problems(400, 401, 403, 404, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
)
async def revoke_session_of_user(
    request: Request[Any, Any, Any], uid: FromPath[str], sid: FromPath[str], sessions: NamedDependency[Sessions]
) -> Response[None]:
    """End one session of a user; 404 if the user has no such session."""
    result = await sessions.revoke(user_of_path(request, uid), sid, cause="revoked-by-admin")
    if not result.found:
        raise NotFoundException
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


@post("/{uid:str}/disable", status_code=204, responses=_PROBLEMS, response_headers=[DURABLE_FIELD])
async def disable_user(
    request: Request[Any, Any, Any], uid: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[None]:
    """End all sessions of a user, who gets no other until enabled; a user who never had any can be disabled too.

    The account of that name is disabled with the user: no factor opens it.
    """
    result = await accounts.disable(user_of_path(request, uid))
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


@post("/{uid:str}/enable", status_code=204, responses=_PROBLEMS, response_headers=[DURABLE_FIELD])
async def enable_user(
    request: Request[Any, Any, Any], uid: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[None]:
    """Allow a user to log in again, and enable the account; the sessions of before stay over."""
    result = await accounts.enable(user_of_path(request, uid))
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


def user_of_path(request: Request[Any, Any, Any], uid: str) -> str:
    """Return the user of the path, decoded once from what was sent; raise InvalidInput if no user can have that id.

    `uid` is what the router made of it: without a raw path, which ASGI does not promise, that is decoded already. A
    path with more slashes than the route has is none of its.
    """
    raw_path: bytes | None = cast("dict[str, Any]", request.scope).get("raw_path")
    if raw_path is not None:
        uid = _decoded(raw_path.decode("latin-1").partition(_USERS)[2].partition("/")[0])
    return valid_text("uid", uid, shortest=1, longest=USER_CHARACTERS_MAX)


def _names_user(scope: Scope) -> bool:
    return scope["path"].removeprefix(scope.get("root_path", "")).startswith(_USERS)


def _decoded(sent: str) -> str:
    if not sent:
        raise NotFoundException
    try:
        return unquote_to_bytes(sent).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("uid", sent, "send UTF-8, percent-encoded") from error


HANDLERS = [
    list_sessions_of_user,
    revoke_sessions_of_user,
    revoke_session_of_user,
    disable_user,
    enable_user,
]
