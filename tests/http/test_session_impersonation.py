"""Impersonation over HTTP: an administrator acts as a user, and goes back to its own session, in one browser."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.http.client import ADMIN, PASSWORD, SERVICE, Service, bearer

IMPERSONATE, STOP, WHO = "/v1/admin/users/ada/impersonate", "/v1/session/stop-impersonating", "/v1/session"
OWN, ACTOR = "tollhouse-dev", "tollhouse-dev-actor"
TYPE = "urn:tollhouse:problem:"


def sid_of(token: str) -> str:
    return token.split(".")[3]


def browser(**cookies: str) -> dict[str, str]:
    """Return the headers of a browser with the session cookie `own`, the kept cookie `actor`, or both."""
    names = {"own": OWN, "actor": ACTOR}
    return {"Cookie": "; ".join(f"{names[name]}={value}" for name, value in cookies.items())}


def cookies_of(answer: httpx2.Response) -> dict[str, str]:
    """Return the values of the cookies that a response sets, empty for one that it clears."""
    pairs = (field.partition(";")[0].partition("=") for field in answer.headers.get_list("set-cookie"))
    return {name: value.strip('"') for name, _, value in pairs}


async def ask(service: Service, method: str, path: str, **options: Any) -> httpx2.Response:
    """Send a request with its own cookies alone."""
    service.client.cookies.clear()
    return await service.ask(method, path, **options)


async def begin(
    service: Service, admin: str, headers: dict[str, str], path: str = IMPERSONATE, **more: str
) -> httpx2.Response:
    body = {"actor": "root", "actor_sid": sid_of(admin), "reason": "a call", **more}
    return await ask(service, "POST", path, json=body, headers={**ADMIN, **headers})


async def acting_browser(service: Service) -> tuple[str, str]:
    """Begin an impersonation by cookie; return the administrator's token and that of the impersonation."""
    admin = await service.begin("root", policy="admin")
    answer = await begin(service, admin, browser(own=admin))
    assert answer.status_code == 201, answer.text
    return admin, cookies_of(answer)[OWN]


async def status(service: Service, token: str) -> int:
    return (await ask(service, "GET", WHO, headers=bearer(token))).status_code


async def test_a_browser_acts_as_a_user_and_keeps_its_own_token(service: Service) -> None:
    """The session cookie is the impersonation's; the second has the same attributes, and opens nothing by itself."""
    admin = await service.begin("root", policy="admin")

    answer = await begin(service, admin, browser(own=admin))

    cookies = cookies_of(answer)
    assert (answer.status_code, answer.json()["session"]["user"], "token" in answer.json()) == (201, "ada", False)
    assert (set(cookies), cookies[ACTOR]) == ({OWN, ACTOR}, admin)
    assert {field.partition(";")[2] for field in answer.headers.get_list("set-cookie")} == {
        " HttpOnly; Path=/; SameSite=strict"
    }
    assert answer.headers["tollhouse-durable"] == "false"
    who = await ask(service, "GET", WHO, headers=browser(own=cookies[OWN], actor=admin))
    assert who.json()["impersonation"] == {"actor": "root", "reason": "a call"}
    assert (await ask(service, "GET", WHO, headers=browser(actor=admin))).status_code == 401


async def test_the_user_sees_who_acts_and_why(service: Service) -> None:
    """In the list of devices, also an administrator's; a session of the user itself says null."""
    mine = await service.begin()
    await acting_browser(service)

    own = (await ask(service, "GET", "/v1/sessions", headers=bearer(mine))).json()["sessions"]
    listed = (await ask(service, "GET", "/v1/admin/users/ada/sessions", headers=ADMIN)).json()["sessions"]

    shown = {device["sid"] == sid_of(mine): device["impersonation"] for device in own}
    assert shown == {True: None, False: {"actor": "root", "reason": "a call"}}
    assert [device["impersonation"] for device in listed] == [device["impersonation"] for device in own]


async def test_stopping_leads_back_to_the_own_session_only(service: Service) -> None:
    """The kept token is the session cookie again, a lost answer may be asked for again, and then nothing is left."""
    admin, acting = await acting_browser(service)

    stops = [await ask(service, "POST", STOP, headers=browser(own=acting, actor=admin)) for _ in range(2)]
    again = await ask(service, "POST", STOP, headers=browser(own=admin))

    for answer in stops:
        assert (answer.status_code, answer.json()["session"]["user"]) == (200, "root")
        assert cookies_of(answer) == {OWN: admin, ACTOR: ""}
        assert "v1." not in answer.text
        assert answer.headers["tollhouse-durable"] in ("true", "false")
        assert "clear-site-data" in answer.headers
    assert (again.status_code, again.json()["type"], cookies_of(again)) == (409, f"{TYPE}not-impersonating", {})
    assert (await status(service, admin), await status(service, acting)) == (200, 401)


@pytest.mark.parametrize("kept", ["none", "another", "over"])
async def test_stopping_without_the_own_token_leads_nowhere(service: Service, kept: str) -> None:
    """The impersonation is over and both cookies are cleared, whatever other session the second cookie opens."""
    admin, acting = await acting_browser(service)
    other = await service.begin("root")
    if kept == "over":  # its end ends the impersonation too, which leads nowhere then
        await ask(service, "POST", "/v1/logout", headers=bearer(admin))
    cookies = {"none": {}, "another": {"actor": other}, "over": {"actor": admin}}[kept]

    answer = await ask(service, "POST", STOP, headers=browser(own=acting, **cookies))

    assert (answer.status_code, answer.content, cookies_of(answer)) == (204, b"", {OWN: "", ACTOR: ""})
    assert (await status(service, acting), await status(service, other)) == (401, 200)


async def test_a_client_without_cookies_keeps_its_tokens_itself(service: Service) -> None:
    """It gets the token in the body and no cookie; with its own token it is told its session, without one 204."""
    admin = await service.begin("root")
    begun = [await begin(service, admin, {}, transport="bearer") for _ in range(2)]
    first, second = (answer.json()["token"] for answer in begun)

    back = await ask(service, "POST", STOP, json={"actor_token": admin}, headers=bearer(first))
    no_way = await ask(service, "POST", STOP, headers=bearer(second))

    assert [answer.status_code for answer in begun] == [201, 201]
    assert (back.status_code, back.json()["session"]["sid"], no_way.status_code) == (200, sid_of(admin), 204)
    assert all("set-cookie" not in answer.headers for answer in (*begun, back, no_way))
    assert "v1." not in back.text
    assert [await status(service, token) for token in (admin, first, second)] == [200, 401, 401]


async def test_a_browser_must_show_the_session_that_acts(service: Service) -> None:
    """Without its cookie, or beside another live session, 409 says so: none is begun, and no cookie is lost."""
    admin, other = await service.begin("root"), await service.begin("eve")
    count = len(await service.records())

    for headers, reason in (
        ({}, "not-presented"),
        (bearer(admin), "not-presented"),
        (browser(own=admin[:-1] + ("A" if admin[-1] != "A" else "E")), "not-presented"),
        (browser(own=other), "another-session"),
        (browser(own=admin, actor=other), "another-session"),
        (browser(own=other, actor=admin), "another-session"),
    ):
        answer = await begin(service, admin, headers)
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (409, f"{TYPE}impersonation-refused"), reason
        assert (problem["reason"], "set-cookie" in answer.headers) == (reason, False)
    assert len(await service.records()) == count
    assert await status(service, other) == 200


async def test_a_kept_cookie_begins_another_one(service: Service) -> None:
    """While an impersonation lives, it is to be stopped first; after its end the cookie that was kept is enough."""
    admin, acting = await acting_browser(service)

    beside = await begin(service, admin, browser(own=acting, actor=admin), "/v1/admin/users/eve/impersonate")
    await ask(service, "DELETE", f"/v1/sessions/{sid_of(acting)}", headers=bearer(acting))
    behind = await begin(service, admin, browser(own=acting, actor=admin), "/v1/admin/users/eve/impersonate")

    assert (beside.status_code, beside.json()["reason"]) == (409, "another-session")
    assert (behind.status_code, cookies_of(behind)[ACTOR]) == (201, admin)


async def test_refusals_have_a_reason(service: Service) -> None:
    """409 for a session that is over, for one that is an impersonation, and for a disabled user; 422 for oneself."""
    admin, acting = await acting_browser(service)
    eve, bearers = "/v1/admin/users/eve/impersonate", {"transport": "bearer"}
    over = await begin(service, "v1.k.u." + "a" * 26 + ".s", {}, **bearers)
    nested = await begin(service, acting, {}, eve, actor="ada", **bearers)
    await ask(service, "POST", "/v1/admin/users/eve/disable", headers=ADMIN)
    disabled = await begin(service, admin, {}, eve, **bearers)
    itself = await begin(service, admin, {}, "/v1/admin/users/root/impersonate", **bearers)

    assert [answer.json()["reason"] for answer in (over, nested, disabled)] == ["actor-over", "nested", "disabled"]
    assert {answer.status_code for answer in (over, nested, disabled)} == {409}
    assert (itself.status_code, itself.json()["field"]) == (422, "actor")


async def test_only_an_administrators_key_begins_one(service: Service) -> None:
    """Neither a service nor the administrator's own session may; the user's id is read from the path as it was sent."""
    admin = await service.begin("root")
    body = {"actor": "root", "actor_sid": sid_of(admin), "reason": "a call", "transport": "bearer"}

    for headers, refused in (({}, 401), (SERVICE, 403), (bearer(admin), 403)):
        assert (await ask(service, "POST", IMPERSONATE, json=body, headers=headers)).status_code == refused
    slash = await begin(service, admin, {}, "/v1/admin/users/a%2Fb/impersonate", transport="bearer")
    assert slash.json()["session"]["user"] == "a/b"


async def test_what_stops_no_impersonation_says_so(service: Service) -> None:
    """401 without a token and for an API key; 422 for a token in the body of a browser, which is not repeated."""
    admin, acting = await acting_browser(service)

    for headers in ({}, ADMIN, SERVICE):
        assert (await ask(service, "POST", STOP, headers=headers)).status_code == 401
    both = await ask(service, "POST", STOP, json={"actor_token": admin}, headers=browser(own=acting))
    unknown = await ask(service, "POST", STOP, json={"other": 1}, headers=bearer(acting))

    assert (both.status_code, both.json()["field"], "v1." in both.text) == (422, "actor_token", False)
    assert unknown.status_code == 400
    assert await status(service, acting) == 200


async def test_an_actor_ends_no_other_session_of_the_user(service: Service) -> None:
    """403 `impersonated` for the other sessions of the user and for its password; the impersonation itself may end."""
    mine = await service.begin()
    admin, acting = await acting_browser(service)
    headers = browser(own=acting, actor=admin)

    for method, path, body in (
        ("DELETE", f"/v1/sessions/{sid_of(mine)}", None),
        ("DELETE", "/v1/sessions?except=current", None),
        ("POST", "/v1/session/reauth", {"password": PASSWORD}),
    ):
        answer = await ask(service, method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, f"{TYPE}impersonated"), path
    own = await ask(service, "DELETE", f"/v1/sessions/{sid_of(acting)}", headers=headers)
    assert (own.status_code, await status(service, mine), await status(service, acting)) == (204, 200, 401)


async def test_a_logout_ends_the_impersonation_and_the_session_that_is_kept(service: Service) -> None:
    """The browser is logged out whole; a bearer token decides alone, so beside one the kept session lives."""
    admin, acting = await acting_browser(service)
    beside = await service.begin("eve")

    alone = await ask(service, "POST", "/v1/logout", headers={**browser(actor=admin), **bearer(beside)})
    assert (ACTOR in cookies_of(alone), await status(service, admin)) == (False, 200)
    answer = await ask(service, "POST", "/v1/logout", headers=browser(own=acting, actor=admin))

    assert (answer.status_code, cookies_of(answer)) == (204, {OWN: "", ACTOR: ""})
    assert (await status(service, admin), await status(service, acting)) == (401, 401)


async def test_a_login_ends_the_session_that_is_kept(service: Service) -> None:
    """It ends what the browser has, both sessions; a login that is refused ends none of them."""
    await service.sign_up("eve")
    admin, acting = await acting_browser(service)
    headers = browser(own=acting, actor=admin)

    wrong = {"user": "eve", "password": "otters juggle nine plums"}
    refused = await ask(service, "POST", "/v1/login", json=wrong, headers=headers)
    assert (refused.status_code, cookies_of(refused), await status(service, admin)) == (401, {}, 200)
    answer = await ask(service, "POST", "/v1/login", json={"user": "eve", "password": PASSWORD}, headers=headers)

    assert (answer.status_code, cookies_of(answer)[ACTOR]) == (200, "")
    assert (await status(service, admin), await status(service, acting)) == (401, 401)
    assert await status(service, cookies_of(answer)[OWN]) == 200
