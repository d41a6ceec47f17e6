"""Step-up over HTTP: the level and the age of an authentication that routes ask for, and how a client gets it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.http.client import PASSWORD, SERVICE, Service, bearer, cookie, service_at
from tests.worlds import embedded_world
from tollhouse.app import create_app
from tollhouse.sessions.logins import Impersonation, LoginContext, login_text
from tollhouse.settings.sessions import SessionSettings

WHO, REAUTH, STEP_UP, INTROSPECT = "/v1/session", "/v1/session/reauth", "/v1/sessions/step-up", "/v1/introspect"
DELETION = ("DELETE", "/v1/account")
OF_ANY_LEVEL = {
    "/v1/logout",
    REAUTH,
    "/v1/session/why",
    "/v1/session/stop-impersonating",
    "/v1/account",
    "/v1/account/totp",
    "/v1/account/totp/confirm",
    "/v1/account/recovery-codes",
    "/v1/account/passkeys",
    "/v1/account/passkeys/options",
    "/v1/account/passkeys/none",
    f"{REAUTH}/passkey",
    f"{REAUTH}/passkey/options",
}
"""What a client may do whatever its level: end the session, ask why it is over, and raise the level, also by a first
second factor."""
TYPE = "urn:tollhouse:problem:"
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
async def strict(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service whose every route of users asks for the level aal2."""
    settings = SessionSettings(acr="aal2", recent_auth_s=60)
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", sessions=settings) as service:
        yield service


async def set_fields(service: Service, *fields: Any) -> None:
    """Change fields of the record of every session."""
    for record in await service.records():
        await service.tollhouse.stores.sessions.command("HSET", record, *fields)


async def age(service: Service, ms: int, login: str = "aal1 pwd ") -> None:
    """Make the last authentication of every session so old."""
    for record in await service.records():
        store = service.tollhouse.stores.sessions
        created_ms = int(await store.command("HGET", record, "c"))
        await store.command("HSET", record, "au", f"{created_ms - ms} {login}")


async def lock(service: Service) -> None:
    """Make every session idle for longer than its policy allows, under one that locks it."""
    await set_fields(service, "lk", 1, "l", 1)


def users_routes(service: Service) -> list[tuple[str, str]]:
    """Return the method and path of every route whose description takes a session."""
    schema = create_app(service.tollhouse).openapi_schema.to_schema()
    return [
        (method.upper(), re.sub(r"\{\w+\}", "none", path))
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if {"session": []} in operation.get("security", [])
    ]


def challenge(answer: httpx2.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["type"], answer.headers["www-authenticate"]


@pytest.mark.asvs("7.5.3")
async def test_every_route_of_users_asks_for_the_level(strict: Service) -> None:
    """List and export too, and a new one: a session below the level gets a challenge, one above it is served."""
    routes = users_routes(strict)
    assert len(routes) > 10
    for method, path in routes:
        weak, strong = await strict.begin(acr="aal1"), await strict.begin(acr="aal3")
        refused = await strict.ask(method, path, headers=bearer(weak))
        allowed = await strict.ask(method, path, headers=bearer(strong))

        any_level = path in OF_ANY_LEVEL and (method, path) != DELETION
        if not any_level:
            status, kind, header = challenge(refused)
            assert (status, kind) == (401, f"{TYPE}insufficient-user-authentication"), (method, path)
            assert header.startswith('Bearer error="insufficient_user_authentication", error_description="'), path
            assert header.endswith('", acr_values="aal2 aal3", max_age="86400"'), path
        for answer in (allowed, *([refused] if any_level else [])):
            assert "insufficient" not in answer.headers.get("www-authenticate", ""), (method, path)
        await strict.renew()


async def test_a_challenge_says_what_is_asked_for(strict: Service) -> None:
    """RFC 9470, 3: levels and age stand in the header and in the problem; one authentication satisfies them all."""
    token = await strict.begin(acr="aal2")
    await age(strict, 61_000, "aal2 pwd,otp ")

    refused = await strict.ask("DELETE", "/v1/sessions?except=current", headers=bearer(token))

    status, kind, header = challenge(refused)
    assert (status, kind) == (401, f"{TYPE}insufficient-user-authentication")
    error, description, *asked = header.split(", ")
    assert (error, description[:19]) == ('Bearer error="insufficient_user_authentication"', 'error_description="')
    assert asked == ['acr_values="aal2 aal3"', 'max_age="60"']
    assert (refused.json()["acr_values"], refused.json()["max_age_s"]) == (["aal2", "aal3"], 60)
    assert (await strict.ask("GET", WHO, headers=bearer(token))).status_code == 200


async def test_a_level_lasts_for_a_day(strict: Service) -> None:
    """A browser that is remembered for months does not keep a level above the weakest (NIST SP 800-63B-4, 2.2.3)."""
    token = await strict.begin(acr="aal2", policy="remember")
    await age(strict, 25 * HOUR_MS, "aal2 pwd,otp ")

    assert challenge(await strict.ask("GET", WHO, headers=bearer(token)))[0] == 401


ENDING = [("DELETE", "/v1/sessions?except=current"), ("DELETE", "/v1/sessions/{other}")]


@pytest.mark.asvs("7.5.2")
@pytest.mark.parametrize(("method", "path"), ENDING)
async def test_the_end_of_other_sessions_asks_for_a_recent_authentication(
    service: Service, method: str, path: str
) -> None:
    """ASVS 7.5.2: after an hour the user authenticates again; a logout and the end of the session itself never ask."""
    await service.sign_up()
    mine, other = await service.log_in(), await service.log_in()
    sids = [(await service.ask("GET", WHO, headers=headers)).json()["sid"] for headers in (mine, other)]
    await age(service, HOUR_MS)
    path = path.format(other=sids[1])

    refused = await service.ask(method, path, headers=mine)
    again = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=mine)
    ended = await service.ask(method, path, headers=bearer(again.json()["token"]))

    assert challenge(refused)[:2] == (401, f"{TYPE}insufficient-user-authentication")
    assert challenge(refused)[2].endswith('ago", max_age="3600"')
    assert refused.json()["acr_values"] == []
    assert (again.status_code, ended.status_code) == (200, 204)
    assert (await service.ask("GET", WHO, headers=other)).status_code == 401
    await age(service, HOUR_MS)
    own = await service.ask("DELETE", f"/v1/sessions/{sids[0]}", headers=bearer(again.json()["token"]))
    assert own.status_code == 204


async def test_an_old_session_logs_out(service: Service) -> None:
    """However long ago the authentication was: nothing keeps a client from ending its own session."""
    await service.sign_up()
    mine = await service.log_in()
    await age(service, 23 * HOUR_MS)

    assert (await service.ask("POST", "/v1/logout", headers=mine)).status_code == 204


@pytest.mark.asvs("7.2.4")
@pytest.mark.asvs("7.2.4")
@pytest.mark.parametrize("by_cookie", [True, False], ids=["cookie", "bearer"])
async def test_a_password_steps_a_session_up(service: Service, by_cookie: bool) -> None:
    """ASVS 7.2.4: the answer has another token, the way it was presented; the former opens nothing; times are new."""
    await service.sign_up()
    token = (await service.log_in())["Authorization"][7:]
    headers = cookie(token) if by_cookie else bearer(token)
    await age(service, HOUR_MS)
    before = (await service.ask("GET", WHO, headers=headers)).json()

    answer = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=headers)

    after = answer.json()["session"]
    held = answer.headers.get("set-cookie", "")
    assert (answer.status_code, answer.headers["tollhouse-durable"]) == (200, "false")
    assert (("token" in answer.json()), "tollhouse-dev=v1." in held) == (not by_cookie, by_cookie)
    assert after["sid"] == before["sid"]
    assert after["authenticated_at"] - before["authenticated_at"] >= HOUR_MS
    assert (after["acr"], after["amr"]) == ("aal1", ["pwd"])
    assert after["expires_at"] >= before["expires_at"]
    service.client.cookies.clear()
    assert (await service.ask("GET", WHO, headers=headers)).status_code == 401


@pytest.mark.parametrize("by_cookie", [True, False], ids=["cookie", "bearer"])
async def test_a_password_opens_a_locked_session(service: Service, by_cookie: bool) -> None:
    """A locked session opens nothing, and is not over: the password of its user opens it, with its data."""
    await service.sign_up()
    token = (await service.log_in())["Authorization"][7:]
    headers = cookie(token) if by_cookie else bearer(token)
    await service.ask("PATCH", "/v1/session/data", json={"cart": 1}, headers=headers)
    await lock(service)

    locked = await service.ask("GET", WHO, headers=headers)
    wrong = await service.ask("POST", REAUTH, json={"password": "not this one, ever"}, headers=headers)
    opened = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=headers)

    assert (locked.status_code, wrong.status_code, opened.status_code) == (401, 401, 200)
    held = {} if by_cookie else bearer(opened.json()["token"])
    assert (await service.ask("GET", "/v1/session/data", headers=held)).json()["values"] == {"cart": 1}


async def test_a_logout_ends_a_locked_session(service: Service) -> None:
    """P4: who logs out of it finds no way back: the password does not open it again."""
    await service.sign_up()
    mine = await service.log_in()
    await lock(service)

    left = await service.ask("POST", "/v1/logout", headers=mine)
    again = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=mine)

    assert (left.status_code, left.headers["tollhouse-durable"]) == (204, "false")
    assert again.status_code == 401
    assert await service.records() == []


async def test_a_wrong_password_changes_nothing(service: Service) -> None:
    """It is told apart from a session that is over, and no cookie is cleared; the session goes on as it was."""
    await service.sign_up()
    mine = await service.log_in()
    before = (await service.ask("GET", WHO, headers=mine)).json()

    wrong = await service.ask("POST", REAUTH, json={"password": "not this one, ever"}, headers=mine)

    assert challenge(wrong)[:2] == (401, f"{TYPE}wrong-password")
    assert challenge(wrong)[2].startswith('Bearer error="insufficient_user_authentication"')
    assert "set-cookie" not in wrong.headers
    assert (await service.ask("GET", WHO, headers=mine)).json() == before


async def test_a_stolen_token_gives_ten_guesses(service: Service) -> None:
    """A session counts its own wrong passwords; after ten they count for the account, as those of any client."""
    await service.sign_up()
    mine = await service.log_in()
    guess = {"password": "guess number one"}

    guesses = [await service.ask("POST", REAUTH, json=guess, headers=mine) for _ in range(15)]
    refused = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=mine)

    assert [answer.status_code for answer in guesses] == [401] * 15
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "ada" not in refused.text


async def test_no_guess_of_others_keeps_a_user_from_authenticating_again(service: Service) -> None:
    """The session is counted alone, so its user can always end the others."""
    await service.sign_up()
    mine = await service.log_in()
    guess = {"user": "ada", "password": "guess number one"}

    logins = [await service.ask("POST", "/v1/login", json=guess) for _ in range(6)]
    served = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=mine)

    assert logins[-1].status_code == 429
    assert served.status_code == 200


async def test_who_has_no_session_is_not_asked_for_a_password(service: Service) -> None:
    """Without a token, with one that is over, and with a key it is 401, and no password is hashed."""
    await service.sign_up()
    mine = await service.log_in()
    await service.ask("POST", "/v1/logout", headers=mine)

    for headers in ({}, mine, bearer("v1.none"), SERVICE):
        answer = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=headers)
        assert challenge(answer)[1:] == (f"{TYPE}not-authenticated", "Bearer"), headers


async def test_who_acts_for_a_user_is_not_asked_for_a_password(service: Service) -> None:
    """An impersonated session is 403 by the password, and 409 for a service: its user is not who sent the request."""
    await service.sign_up()
    mine = await service.log_in()
    acting = LoginContext(impersonation=Impersonation(actor="root", actor_sid="a" * 26, reason="a call"))
    await age(service, 0, login_text(acting))

    by_password = await service.ask("POST", REAUTH, json={"password": PASSWORD}, headers=mine)
    by_service = await service.ask("POST", STEP_UP, json={"token": mine["Authorization"][7:]}, headers=SERVICE)

    assert (by_password.status_code, by_password.json()["type"]) == (403, f"{TYPE}impersonated")
    assert (by_service.status_code, by_service.json()["reason"]) == (409, "impersonated")
    assert (await service.ask("GET", WHO, headers=mine)).status_code == 200


@pytest.mark.asvs("7.5.3")
async def test_a_service_steps_a_session_up(strict: Service) -> None:
    """An application that checks factors itself says which: every answer about the session tells of them then."""
    await strict.renew()
    token = await strict.begin(acr="aal1", amr=["pwd"])
    body = {"token": token, "acr": "aal2", "amr": ["pwd", "otp"]}

    answer = await strict.ask("POST", STEP_UP, json=body, headers=SERVICE)

    stepped = answer.json()
    assert (answer.status_code, set(stepped)) == (200, {"session", "token", "durable"})
    assert (answer.headers["tollhouse-durable"], "set-cookie" in answer.headers) == ("false", False)
    session = (await strict.ask("GET", WHO, headers=bearer(stepped["token"]))).json()
    assert (session["acr"], session["amr"]) == ("aal2", ["pwd", "otp"])
    assert session["authenticated_at"] == stepped["session"]["authenticated_at"]
    found = (await strict.ask("POST", INTROSPECT, data={"token": stepped["token"]}, headers=SERVICE)).json()
    assert (found["acr"], found["amr"]) == ("aal2", ["pwd", "otp"])
    assert found["auth_time"] == session["authenticated_at"] // 1000
    again = await strict.ask("POST", STEP_UP, json=body, headers=SERVICE)
    assert (again.status_code, again.json()["type"]) == (409, f"{TYPE}step-up-refused")
    assert again.json()["reason"] == "over"


async def test_a_service_opens_a_locked_session(service: Service) -> None:
    """The device list says that it is locked, and an introspection that it is not active; then it is both no more."""
    token, other = await service.begin(), await service.begin()
    sid = (await service.ask("GET", WHO, headers=bearer(token))).json()["sid"]
    for record in await service.records():
        if record.decode().endswith(sid):
            await service.tollhouse.stores.sessions.command("HSET", record, "lk", 1, "l", 1)
    listed = (await service.ask("GET", "/v1/sessions", headers=bearer(other))).json()["sessions"]
    inactive = (await service.ask("POST", INTROSPECT, data={"token": token}, headers=SERVICE)).json()

    answer = await service.ask("POST", STEP_UP, json={"token": token}, headers=SERVICE)

    assert {one["sid"]: one["locked"] for one in listed}[sid] is True
    assert inactive == {"active": False}
    assert (await service.ask("GET", WHO, headers=bearer(answer.json()["token"]))).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer user"}])
async def test_only_a_service_says_that_a_user_was_authenticated(service: Service, headers: dict[str, str]) -> None:
    """A user's token, which anyone with a session has, is no credential for it."""
    token = await service.begin()
    headers = {key: value.replace("user", token) for key, value in headers.items()}

    answer = await service.ask("POST", STEP_UP, json={"token": token, "acr": "aal3"}, headers=headers)

    assert answer.status_code == (403 if headers else 401)


async def test_a_login_says_its_level(service: Service) -> None:
    """A password is the weakest level, and its method is `pwd` (RFC 8176)."""
    await service.sign_up()
    session = (await service.ask("GET", WHO, headers=await service.log_in())).json()

    assert (session["acr"], session["amr"]) == ("aal1", ["pwd"])
    assert session["authenticated_at"] == session["created_at"]
