"""The caller's session over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from tollhouse.http.authentication import current_session
from tollhouse.http.openapi import problems
from tollhouse.http.sessions.bodies import SessionBody, session_body


@get("/session", responses=problems(400, 401, 403, 429, 503))
async def get_session(request: Request[Any, Any, Any]) -> Response[SessionBody]:
    """Return the caller's session, or 401."""
    return Response(session_body(current_session(request)))


HANDLERS = [get_session]
