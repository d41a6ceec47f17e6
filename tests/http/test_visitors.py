"""Visitors over HTTP: their sessions are begun by a service, say what they are, and give their data to a login."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import PASSWORD, SERVICE, Service, bearer, cookie

VISITS = "/v1/sessions/anonymous"
CART = {"cart": ["socks"]}


async def visit(service: Service) -> str:
    answer = await service.ask("POST", VISITS, json={"data": CART}, headers=SERVICE)
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


async def test_a_visitor_says_so(service: Service) -> None:
    """The session, and what an introspection tells of it, are `anonymous`: an app does not take it for a login."""
    token = await visit(service)

    session = (await service.ask("GET", "/v1/session", headers=bearer(token))).json()
    told = (await service.ask("POST", "/v1/introspect", data={"token": token}, headers=SERVICE)).json()
    user = (await service.ask("GET", "/v1/session", headers=bearer(await service.begin()))).json()

    assert (session["anonymous"], told["anonymous"], user["anonymous"]) == (True, True, False)
    assert session["user"] == told["sub"]
    assert "auth_time" not in told
    assert told["policy"] == "anonymous"


@pytest.mark.parametrize("carry", [True, False])
async def test_a_cart_survives_a_login_that_asks_for_it(service: Service, carry: bool) -> None:
    """The browser that logs in has another session with the data of the visitor's, whose token opens nothing then."""
    await service.sign_up()
    token, body = await visit(service), {"user": "ada", "password": PASSWORD, "transport": "bearer", "carry": carry}

    login = await service.ask("POST", "/v1/login", json=body, headers=cookie(token))

    service.client.cookies.clear()
    headers = bearer(login.json()["token"])
    assert (await service.ask("GET", "/v1/session/data", headers=headers)).json()["values"] == (CART if carry else {})
    assert (await service.ask("GET", "/v1/session", headers=bearer(token))).status_code == 401


async def test_a_service_carries_a_cart_too(service: Service) -> None:
    """An application that logs users in itself says whose session the login replaces, and that its data stays."""
    body = {"user": "ada", "replaces": await visit(service), "carry": True}

    begun = await service.ask("POST", "/v1/sessions", json=body, headers=SERVICE)

    data = await service.ask("GET", "/v1/session/data", headers=bearer(begun.json()["token"]))
    assert data.json()["values"] == CART


#   status, body
WRONG: list[tuple[int, Any]] = [
    (400, {}),
    (400, {"data": []}),
    (400, {"data": CART, "user": "ada"}),
    (422, {"data": {}}),
    (422, {"data": CART, "policy": "forever"}),
]


@pytest.mark.parametrize(("status", "body"), WRONG)
async def test_a_visit_needs_data_and_no_user(service: Service, status: int, body: Any) -> None:
    """What is wrong is told, and nothing is stored."""
    assert (await service.ask("POST", VISITS, json=body, headers=SERVICE)).status_code == status
    assert await service.records() == []


async def test_no_one_but_a_service_begins_a_visit(service: Service) -> None:
    """A visitor cannot fill the store: 401 without a key, 403 with a session."""
    token = await service.begin()

    statuses = [
        (await service.ask("POST", VISITS, json={"data": CART}, headers=headers)).status_code
        for headers in ({}, bearer(token))
    ]

    assert statuses == [401, 403]


@pytest.mark.parametrize("user", ["anonymous:" + "a" * 26, "Anonymous:" + "A" * 26])
async def test_no_account_looks_like_a_visitor(service: Service, user: str) -> None:
    """A name of that form is 422 at sign-up, and begins no session of a service, unless it is another name."""
    signed_up = await service.ask("POST", "/v1/accounts", json={"user": user, "password": PASSWORD})
    begun = await service.ask("POST", "/v1/sessions", json={"user": user}, headers=SERVICE)

    assert signed_up.status_code == 422
    assert begun.status_code == (422 if user.islower() else 201)
