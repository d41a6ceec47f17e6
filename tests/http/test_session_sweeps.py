"""Rules that every session route keeps: no token shown, no state changed by a GET, no 401 while the store is down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.client import ADMIN, PASSWORD, SERVICE, Service, bearer, cookie
from tests.http.test_edges import service_without_stores
from tests.http.test_response_headers import routes_of

SID = "a" * 26
ACTING = {"actor": "root", "actor_sid": SID, "reason": "a call", "transport": "bearer"}
#   method, path, body, credentials: `user` for a session
ROUTES: list[tuple[str, str, Any, str]] = [
    ("GET", "/v1/session", None, "user"),
    ("POST", "/v1/session/renew", None, "user"),
    ("GET", "/v1/session/csrf-token", None, "user"),
    ("GET", "/v1/session/data", None, "user"),
    ("PATCH", "/v1/session/data", {"a": 1}, "user"),
    ("POST", "/v1/session/data/take", {"name": "a"}, "user"),
    ("POST", "/v1/session/data/increment", {"name": "a"}, "user"),
    ("GET", "/v1/sessions", None, "user"),
    ("DELETE", f"/v1/sessions/{SID}", None, "user"),
    ("DELETE", "/v1/sessions?except=current", None, "user"),
    ("POST", "/v1/session/rotate", None, "user"),
    ("GET", "/v1/session/why", None, "user"),
    ("POST", "/v1/session/reauth", {"password": PASSWORD}, "user"),
    ("POST", "/v1/session/stop-impersonating", {"actor_token": ""}, "user"),
    ("POST", "/v1/logout", None, "user"),
    ("GET", "/v1/account", None, "user"),
    ("POST", "/v1/account/totp", None, "user"),
    ("POST", "/v1/account/totp/confirm", {"code": "123456"}, "user"),
    ("DELETE", "/v1/account/totp", None, "user"),
    ("POST", "/v1/account/recovery-codes", {"end_others": False}, "user"),
    ("GET", "/v1/account/passkeys", None, "user"),
    ("POST", "/v1/account/passkeys/options", None, "user"),
    ("POST", "/v1/account/passkeys", {"credential": {}, "name": "a phone"}, "user"),
    ("PATCH", "/v1/account/passkeys/none", {"name": "a phone"}, "user"),
    ("DELETE", "/v1/account/passkeys/none", None, "user"),
    ("POST", "/v1/session/reauth/passkey/options", None, "user"),
    ("POST", "/v1/session/reauth/passkey", {"credential": {}}, "user"),
    ("POST", "/v1/sessions", {"user": "eve"}, "service"),
    ("POST", "/v1/sessions/anonymous", {"data": {"cart": []}}, "service"),
    ("POST", "/v1/sessions/step-up", {"token": ""}, "service"),
    ("POST", "/v1/introspect", "token", "service"),
    ("GET", "/v1/admin/users/ada/sessions", None, "admin"),
    ("DELETE", "/v1/admin/users/ada/sessions", None, "admin"),
    ("DELETE", f"/v1/admin/users/ada/sessions/{SID}", None, "admin"),
    ("POST", "/v1/admin/users/ada/disable", None, "admin"),
    ("POST", "/v1/admin/users/ada/enable", None, "admin"),
    ("GET", "/v1/admin/users/ada/account", None, "admin"),
    ("DELETE", "/v1/admin/users/ada/account", None, "admin"),
    ("DELETE", "/v1/admin/users/ada/factors", None, "admin"),
    ("POST", "/v1/admin/users/ada/impersonate", ACTING, "admin"),
    ("POST", "/v1/admin/logout-everyone", None, "admin"),
]
SWEPT = ("/v1/session", "/v1/account/", "/v1/admin", "/v1/introspect", "/v1/logout")
"""What the paths of sessions begin with."""
STREAM = "/v1/admin/events"
"""It does not end, and has tests of its own (test_session_events.py)."""
IN_BODY = {"/v1/session/renew", "/v1/session/rotate", "/v1/sessions", "/v1/sessions/anonymous", "/v1/sessions/step-up"}
"""Routes that show a token in the body, to a client without cookies that asks for one."""


def content_of(body: Any, token: str) -> dict[str, Any]:
    """Return the body of a route with the token of the session in it, if it has one."""
    if body == "token":
        return {"data": {"token": token}}
    return {"json": {**body, "token": token} if body is not None and "token" in body else body}


async def answer_of(service: Service, route: tuple[str, str, Any, str], token: str, user: dict[str, str]) -> Any:
    method, path, body, credentials = route
    headers = {"user": user, "service": SERVICE, "admin": ADMIN}[credentials]
    content = content_of(body, token)
    service.client.cookies.clear()
    return await service.ask(method, path, headers=headers, **content)


async def test_the_sweeps_leave_no_session_route_out(service: Service) -> None:
    """A new route of sessions or of administration has to be swept."""
    swept = {
        (method, path.partition("?")[0].replace("/ada/", "/nobody/").replace(SID, "none"))
        for method, path, _, _ in ROUTES
    }

    for method, path, _ in routes_of(service):
        if method != "OPTIONS" and path.startswith(SWEPT) and path != STREAM:
            assert (method, path) in swept


@pytest.mark.asvs("3.3.4")
async def test_no_response_shows_a_token_but_to_whom_it_is_for(service: Service) -> None:
    """ASVS 3.3.4, 14.2.1: a token is in Set-Cookie, or in the body for a client that asked with a bearer token."""
    for route in ROUTES:
        for by_cookie in (True, False):
            await service.renew()
            token = await service.begin()
            await service.make_due()
            answer = await answer_of(service, route, token, cookie(token) if by_cookie else bearer(token))
            shown = [(name, value) for name, value in answer.headers.multi_items() if name != "set-cookie"]
            asked_for_it = route[1] in IN_BODY and route[0] == "POST" and not (by_cookie and route[3] == "user")
            assert answer.status_code < 500, route
            assert ("v1." in answer.text, "v1." in repr(shown)) == (asked_for_it, False), (route, by_cookie)
            assert token not in answer.text or route[1] == "/v1/session/renew"


@pytest.mark.asvs("3.5.3")
async def test_no_get_changes_the_state_of_a_session(service: Service) -> None:
    """ASVS 3.5.3: no GET, from any caller, begins or ends a session or changes its data; `{probe}` is of readiness."""
    await service.sign_up()
    token = (await service.log_in())["Authorization"][7:]
    before = await stored(service)

    for method, path, _ in routes_of(service):
        if method == "GET" and path != STREAM:
            for headers in ({}, bearer(token), cookie(token), SERVICE, ADMIN):
                await service.ask(method, path, headers=headers)

    await service.tollhouse.sessions.aclose()
    assert await stored(service) == before


async def test_every_body_names_a_member_once(service: Service) -> None:
    """400 for an object with a member twice, on every route with a body: readers disagree on which of them counts."""
    token = await service.begin()
    before = await stored(service)

    for method, path, body, credentials in ROUTES:
        if isinstance(body, dict):
            members = json.dumps(body)[1:-1]
            own = {"user": bearer(token), "service": SERVICE, "admin": ADMIN}[credentials]
            headers = {**own, "Content-Type": "application/json"}
            answer = await service.ask(method, path, headers=headers, content=f"{{{members}, {members}}}")
            assert (answer.status_code, answer.json()["field"]) == (400, "body"), path
    assert await stored(service) == before


async def stored(service: Service) -> dict[bytes, bytes]:
    """Return what the stores of sessions and accounts hold, by key."""
    return {
        key: await store.command("DUMP", key)
        for store in (service.tollhouse.stores.sessions, service.tollhouse.stores.accounts)
        for key in await store.command("KEYS", "*")
        if not key.endswith(b"{probe}")
    }


async def test_while_the_store_is_down_every_route_says_so() -> None:
    """P8: 503 with Retry-After and no-store, never 401 or 404, and no cookie is cleared: an outage logs no user out."""
    async with service_without_stores(deadline_ms=1_000) as (service, session):
        token = session["Authorization"][7:]
        for route in ROUTES:
            for user in (session, cookie(token)) if route[3] == "user" else (session,):
                answer = await answer_of(service, route, token, user)
                assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), (route, answer.text)
                assert answer.headers["cache-control"] == "no-store"
                assert "set-cookie" not in answer.headers
                assert "tollhouse-durable" not in answer.headers
                assert "clear-site-data" not in answer.headers
        login = await service.ask("POST", "/v1/login", json={"user": "ada", "password": PASSWORD})
        assert login.status_code == 503


@pytest.mark.asvs("3.5.1")
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_no_page_of_another_site_changes_a_session(service: Service, method: str) -> None:
    """ASVS 3.5.1: every unsafe route refuses what a browser says to come from elsewhere, and changes nothing by it."""
    token = await service.begin()
    before = await stored(service)

    for own, path, body, credentials in ROUTES:
        if own == method:
            for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
                user = {**cookie(token), **foreign}
                headers = {"user": user, "service": {**SERVICE, **foreign}, "admin": {**ADMIN, **foreign}}[credentials]
                content = content_of(body, token)
                answer = await service.ask(own, path, headers=headers, **content)
                assert answer.status_code == 403, (own, path)
    assert await stored(service) == before
