"""Logins at the cap over HTTP: the problem that asks, and the route that goes on with the choice."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.http.client import PASSWORD, SERVICE, Service, bearer, cookie, service_at
from tests.http.test_edges import service_without_stores
from tests.worlds import embedded_world
from tollhouse.keyring import Keyring
from tollhouse.sessions import tickets
from tollhouse.settings.sessions import SessionPolicySettings, SessionSettings

LOGIN, CAP = "/v1/login", "/v1/login/cap"
POLICY = SessionPolicySettings(idle_ms=3_600_000, absolute_ms=86_400_000, cap=2, at_cap="ask")
SETTINGS = SessionSettings(policies={"default": POLICY})
TICKET = tickets.issue(Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), "7f" * 16, bytes).reveal()


@pytest.fixture(scope="module")
async def served(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service whose users have two sessions at most, and are asked."""
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", sessions=SETTINGS) as service:
        yield service


async def full(service: Service) -> list[str]:
    """Sign up, and begin as many sessions as the user may have; return their tokens."""
    await service.sign_up()
    return [(await service.log_in())["Authorization"][7:] for _ in range(2)]


async def log_in(service: Service, **headers: str) -> httpx2.Response:
    service.client.cookies.clear()
    return await service.ask("POST", LOGIN, json={"user": "ada", "password": PASSWORD}, headers=headers)


async def resume(service: Service, ticket: str, end: Any = (), **more: Any) -> httpx2.Response:
    service.client.cookies.clear()
    return await service.ask("POST", CAP, json={"ticket": ticket, "end": list(end), **more})


def sid_of(token: str) -> str:
    return token.split(".")[3]


async def status(service: Service, token: str) -> int:
    service.client.cookies.clear()
    return (await service.ask("GET", "/v1/session", headers=bearer(token))).status_code


async def test_a_login_at_the_cap_tells_what_may_end(service: Service) -> None:
    """409 `session-cap` has the ticket and the user's devices, and no session begins: no cookie, no token."""
    present = await full(service)

    answer = await log_in(service)

    body = answer.json()
    assert (answer.status_code, body["type"].rpartition(":")[2]) == (409, "session-cap")
    assert {device["sid"] for device in body["sessions"]} == set(map(sid_of, present))
    assert body["ends"] == 1
    assert body["ticket"].startswith("t1.")
    assert answer.headers["tollhouse-durable"] == "false"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert "v1." not in answer.text
    assert len(await service.records()) == 2


async def test_a_wrong_password_at_the_cap_tells_nothing(service: Service) -> None:
    """Only the right password gets the list of the user's devices."""
    await full(service)

    answer = await service.ask("POST", LOGIN, json={"user": "ada", "password": "otters juggle nine plums"})

    assert (answer.status_code, "sessions" in answer.json()) == (401, False)


async def test_a_login_goes_on_with_the_choice(service: Service) -> None:
    """The answer is that of a login: a cookie and no token in the body, or the token for a client that asks for it."""
    first, second = await full(service)

    by_cookie = await resume(service, (await log_in(service)).json()["ticket"], [sid_of(first)])
    by_bearer = await resume(service, (await log_in(service)).json()["ticket"], [sid_of(second)], transport="bearer")

    assert (by_cookie.status_code, by_bearer.status_code) == (200, 200)
    assert set(by_cookie.json()) == {"session", "durable"}
    assert "tollhouse-dev=v1." in by_cookie.headers["set-cookie"]
    assert set(by_bearer.json()) == {"session", "durable", "token", "device_token"}
    assert "set-cookie" not in by_bearer.headers
    assert by_cookie.headers["tollhouse-durable"] == by_bearer.headers["tollhouse-durable"] == "false"
    assert [await status(service, token) for token in (first, second, by_bearer.json()["token"])] == [401, 401, 200]
    assert len(await service.records()) == 2


async def test_a_ticket_that_opens_nothing_is_401(service: Service) -> None:
    """A used ticket, another one and what is none get the same answer, and end nothing."""
    first, second = await full(service)
    used = (await log_in(service)).json()["ticket"]
    await resume(service, used, [sid_of(first)])

    answers = [await resume(service, ticket, [sid_of(second)]) for ticket in (used, TICKET, "t1", "", second)]

    assert [answer.status_code for answer in answers] == [401] * 5
    assert len({answer.text for answer in answers}) == 1
    assert await status(service, second) == 200


async def test_too_few_to_end_are_told_again(service: Service) -> None:
    """It is 409 with the same ticket until enough are chosen; another user's session is 422, and is not ended."""
    first, _ = await full(service)
    other = await service.begin("eve")
    ticket = (await log_in(service)).json()["ticket"]

    again = await resume(service, ticket)
    foreign = await resume(service, ticket, [sid_of(other)])

    assert (again.status_code, again.json()["ticket"], again.json()["ends"]) == (409, ticket, 1)
    assert (foreign.status_code, foreign.json()["field"]) == (422, "end")
    assert await status(service, other) == 200
    assert (await resume(service, ticket, [sid_of(first)])).status_code == 200


BODIES: list[Any] = [
    {},
    {"end": []},
    {"ticket": 1},
    {"ticket": TICKET, "end": "a" * 26},
    {"ticket": TICKET, "end": [1]},
    {"ticket": TICKET, "transport": "smoke"},
    {"ticket": TICKET, "policy": "remember"},
    [TICKET],
]


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_of_another_form_is_400(service: Service, body: Any) -> None:
    """A client chooses nothing but what to end, and its ticket is not repeated."""
    answer = await service.ask("POST", CAP, json=body)

    assert answer.status_code == 400
    assert TICKET not in answer.text


async def test_a_ticket_in_the_wrong_place_is_not_repeated(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """P5: no answer but that of the login shows a ticket, and no log ever."""
    await full(service)
    ticket = (await log_in(service)).json()["ticket"]

    answers = [
        await resume(service, ticket, [ticket]),
        await service.ask("POST", f"{CAP}?ticket={ticket}", json={}),
        await service.ask("GET", f"{CAP}/{ticket}"),
        await service.ask("GET", "/v1/session", headers=bearer(ticket)),
        await service.ask("DELETE", f"/v1/sessions/{ticket}", headers=bearer(await service.begin("eve"))),
    ]

    assert [answer.status_code for answer in answers] == [422, 400, 404, 401, 404]
    for answer in answers:
        assert ticket not in answer.text
    assert not [one for one in caplog.records if one.name.startswith("tollhouse") and ticket in one.getMessage()]


async def test_the_session_of_the_request_is_ended(service: Service) -> None:
    """ASVS 7.2.4: what the browser presents with its ticket is replaced, also another user's."""
    first, _ = await full(service)
    ticket, other = (await log_in(service)).json()["ticket"], await service.begin("eve")

    answer = await service.ask("POST", CAP, json={"ticket": ticket, "end": [sid_of(first)]}, headers=cookie(other))

    assert answer.status_code == 200
    assert await status(service, other) == 401


@pytest.mark.parametrize("foreign", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_no_page_of_another_site_goes_on_with_a_login(service: Service, foreign: dict[str, str]) -> None:
    """ASVS 3.5.1: a login that another site makes a browser send is refused, and the ticket stays good."""
    first, _ = await full(service)
    body = {"ticket": (await log_in(service)).json()["ticket"], "end": [sid_of(first)]}

    assert (await service.ask("POST", CAP, json=body, headers=foreign)).status_code == 403
    assert (await service.ask("POST", CAP, data=body)).status_code == 415

    assert (await service.ask("POST", CAP, json=body)).status_code == 200


async def test_no_limit_refuses_to_go_on(service: Service) -> None:
    """A ticket has 256 random bits, so guesses at it need no limit; wrong ones keep no owner from the choice."""
    first, _ = await full(service)
    asked = await log_in(service)

    statuses = [(await resume(service, TICKET)).status_code for _ in range(31)]
    resumed = await service.ask("POST", CAP, json={"ticket": asked.json()["ticket"], "end": [sid_of(first)]})

    assert statuses == [401] * 31
    assert resumed.status_code == 200
    assert any(one.startswith("tollhouse-dev-device") for one in resumed.headers.get_list("set-cookie"))


async def test_a_service_is_asked_too(service: Service) -> None:
    """An application that logs users in itself gets the ticket, and goes on with it on the same route."""
    for _ in range(2):
        await service.begin()

    asked = await service.ask("POST", "/v1/sessions", json={"user": "ada"}, headers=SERVICE)
    answer = await resume(service, asked.json()["ticket"], [asked.json()["sessions"][0]["sid"]], transport="bearer")

    assert (asked.status_code, answer.status_code) == (409, 200)
    assert await status(service, answer.json()["token"]) == 200


async def test_while_the_store_is_down_a_ticket_is_not_refused() -> None:
    """P8: 503, never 401, so that the client keeps its ticket."""
    async with service_without_stores(deadline_ms=1_000) as (service, _):
        answer = await resume(service, TICKET)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
