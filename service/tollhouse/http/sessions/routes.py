"""The routers of all session routes, each with the credentials that it asks for."""

from __future__ import annotations

from litestar import Router

from tollhouse.http.authentication import require_role
from tollhouse.http.openapi import SESSION
from tollhouse.http.sessions import current, data, devices

OWN = Router(
    "/v1",
    route_handlers=[*current.HANDLERS, *data.HANDLERS, *devices.HANDLERS],
    guards=[require_role("session")],
    opt={"auth": True, "rate_limit": "session"},
    security=SESSION,
)
"""What users do with their own sessions."""

ROUTERS = [OWN]
