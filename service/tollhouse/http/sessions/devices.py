"""The caller's sessions over HTTP: list them, and revoke one or all others; no limit refuses an end."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from litestar import Request, Response, delete, get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, QueryParameter

from tollhouse.http.authentication import current_session, require_role
from tollhouse.http.challenges import LoginRules, refuse_impersonation
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import SESSION, problems
from tollhouse.http.pacing import PacedEnds
from tollhouse.http.sessions.bodies import device_bodies
from tollhouse.sessions.sessions import Sessions

_GUARDS: Final = [require_role("session")]
_PROBLEMS: Final = problems(400, 401, 403, 429, 503)


@get("/", responses=_PROBLEMS, guards=_GUARDS, security=SESSION, opt={"rate_limit": "session"})
async def list_sessions(request: Request[Any, Any, Any], sessions: NamedDependency[Sessions]) -> Response[Any]:
    """List the caller's sessions, the most recently used first."""
    own = current_session(request)
    return Response(device_bodies(await sessions.list(own.user), own))


@delete(
    "/{sid:str}",
    status_code=204,
    guards=_GUARDS,
    security=SESSION,
    responses=problems(400, 401, 403, 404, 429, 503),
    response_headers=[DURABLE_FIELD],
)
async def revoke_session(
    request: Request[Any, Any, Any],
    sid: FromPath[str],
    sessions: NamedDependency[Sessions],
    login_rules: NamedDependency[LoginRules],
) -> Response[None]:
    """Revoke one of the caller's sessions; 404 if the caller has no such session.

    For another session than its own the caller must have been authenticated recently, else it is 401; and in an
    impersonation it is 403 `impersonated`.
    """
    own = current_session(request)
    if sid != own.sid:
        refuse_impersonation(own)
        login_rules.require_recent(own)
    result = await sessions.revoke(own.user, sid)
    if not result.found:
        raise NotFoundException
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


@delete(
    "/",
    status_code=204,
    guards=_GUARDS,
    security=SESSION,
    responses=_PROBLEMS,
    response_headers=[DURABLE_FIELD],
    opt={"query": ("except",)},
)
async def revoke_others(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    login_rules: NamedDependency[LoginRules],
    paced_ends: NamedDependency[PacedEnds],
    but: Annotated[Literal["current"] | None, QueryParameter(name="except")] = None,
) -> Response[None]:
    """Revoke all of the caller's sessions except this one; 401 unless the caller was authenticated recently.

    In an impersonation it is 403 `impersonated`. One session ends others once a second: more requests wait and share.
    """
    if but is None:
        raise HTTPException("send ?except=current; to revoke this session too, log out", status_code=400)
    own = current_session(request)
    refuse_impersonation(own)
    login_rules.require_recent(own)
    result = await paced_ends.run(own.sid, lambda: sessions.revoke_all(own.user, keep=own))
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


HANDLERS = [list_sessions, revoke_session, revoke_others]
