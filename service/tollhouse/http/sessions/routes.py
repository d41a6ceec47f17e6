"""The routers of all session routes, each with the credentials that it asks for."""

from __future__ import annotations

from litestar import Router

from tollhouse.http.accounts import closing, passkey_reauthentication
from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import KEY, SESSION
from tollhouse.http.sessions import (
    administration,
    cap,
    current,
    data,
    devices,
    ends,
    events,
    impersonation,
    introspection,
    reauthentication,
)

OWN = Router(
    "/v1",
    route_handlers=[*current.HANDLERS, *data.HANDLERS],
    guards=[require_role("session")],
    opt={"auth": True, "rate_limit": "session"},
    security=SESSION,
)
"""What users do with the session of their request."""

OVER = Router(
    "/v1",
    route_handlers=[
        ends.why,
        reauthentication.reauthenticate,
        passkey_reauthentication.ask_for_own_passkey,
        passkey_reauthentication.reauthenticate_by_passkey,
        impersonation.stop_impersonating,
    ],
    opt={"auth": True, "rate_limit": "session"},
    security=SESSION,
)
"""What clients do whose session is over or locked: so it needs none, and no level of it."""

LISTED = Router(
    "/v1/sessions",
    route_handlers=[*devices.HANDLERS, introspection.begin_session, introspection.begin_visit, introspection.step_up],
    opt={"auth": True},
)
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
    "/v1/admin",
    route_handlers=[
        Router(
            "/users", route_handlers=[*administration.HANDLERS, impersonation.impersonate, *closing.FOR_ADMINISTRATORS]
        ),
        *events.HANDLERS,
        ends.logout_everyone,
    ],
    guards=[require_role("admin")],
    opt={"auth": True},
    security=KEY,
)
"""What administrators do with the sessions of any user, and of all."""

LOGINS = Router("/", route_handlers=cap.HANDLERS)
"""What a login does that has no session yet."""

ROUTERS = [LOGINS, OWN, OVER, LISTED, FOR_SERVICES, FOR_ADMINISTRATORS]
