"""The routers of all session routes, each with the credentials that it asks for."""

from __future__ import annotations

from litestar import Router

from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import KEY, SESSION
from tollhouse.http.sessions import administration, cap, current, data, devices, events, introspection

OWN = Router(
    "/v1",
    route_handlers=[*current.HANDLERS, *data.HANDLERS],
    guards=[require_role("session")],
    opt={"auth": True, "rate_limit": "session"},
    security=SESSION,
)
"""What users do with the session of their request."""

LISTED = Router("/v1/sessions", route_handlers=[*devices.HANDLERS, introspection.begin_session], opt={"auth": True})
"""What users do with all of their sessions. A service begins one on the same path, so each route has its guard."""

FOR_SERVICES = Router(
    "/v1",
    route_handlers=[introspection.introspect],
    guards=[require_role("service")],
    opt={"auth": True},
    security=KEY,
)
"""What services do for their users."""

FOR_ADMINISTRATORS = Router(
    "/v1/admin/users",
    route_handlers=administration.HANDLERS,
    guards=[require_role("admin")],
    opt={"auth": True},
    security=KEY,
)
"""What administrators do with the sessions of any user."""

WATCHED = Router(
    "/v1/admin", route_handlers=events.HANDLERS, guards=[require_role("admin")], opt={"auth": True}, security=KEY
)
"""What administrators see of the sessions of all users."""

LOGINS = Router("/", route_handlers=cap.HANDLERS)
"""What a login does that has no session yet."""

ROUTERS = [LOGINS, OWN, LISTED, FOR_SERVICES, FOR_ADMINISTRATORS, WATCHED]
