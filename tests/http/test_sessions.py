"""Accounts and sessions over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.http.client import PASSWORD, SERVICE, Service, bearer, cookies_of, service_at
from tests.worlds import embedded_world
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.model import LimitSettings, PolicySettings
from tollhouse.settings.throttle import ThrottleSettings


async def test_sign_up_log_in_and_get_the_session(service: Service) -> None:
    """C-8, S2-04: an account is made once, a login gives a session, and the session answers who it is."""
    await service.sign_up()
    taken = await service.ask("POST", "/v1/accounts", json={"user": "ada", "password": PASSWORD})

    headers = await service.log_in()
    who = await service.ask("GET", "/v1/session", headers=headers)

    assert taken.status_code == 409
    assert taken.json()["type"] == "urn:tollhouse:problem:name-taken"
    assert who.status_code == 200
    assert set(who.json()) == {
        *("sid", "user", "created_at", "expires_at", "idle_expires_at"),
        *("authenticated_at", "acr", "amr", "renewal_due", "anonymous", "impersonation"),
    }
    assert who.json()["user"] == "ada"
    assert who.headers["cache-control"] == "no-store"
    assert who.headers["vary"] == "Authorization, Cookie, X-Api-Key"
    assert "set-cookie" not in who.headers


@pytest.mark.asvs("3.5.6")
async def test_no_session_is_given_to_a_script(service: Service) -> None:
    """No route has JSONP: a callback in the query is an unknown parameter, and the answer is JSON."""
    token = await service.begin("ada")
    response = await service.ask("GET", "/v1/session?callback=show", headers=bearer(token))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.asvs("7.2.4")
async def test_a_login_ends_the_session_of_its_request(service: Service) -> None:
    """ASVS 7.2.4: a login with the cookie or the bearer token of a session ends that one, also another user's."""
    await service.sign_up()
    await service.sign_up("eve")
    bearer = await service.log_in("eve")
    credentials = {"user": "ada", "password": PASSWORD}

    by_bearer = await service.ask("POST", "/v1/login", json=credentials, headers=bearer)
    first = service.client.cookies["tollhouse-dev"]
    by_cookie = await service.ask("POST", "/v1/login", json=credentials)
    second = service.client.cookies["tollhouse-dev"]

    assert (by_bearer.status_code, by_cookie.status_code) == (200, 200)
    assert first != second
    assert (await service.ask("GET", "/v1/session")).json()["user"] == "ada"
    service.client.cookies.clear()
    for headers in (bearer, {"Authorization": f"Bearer {first}"}):
        assert (await service.ask("GET", "/v1/session", headers=headers)).status_code == 401


async def test_a_wrong_password_ends_no_session(service: Service) -> None:
    """Only a login that succeeds replaces what the request had."""
    await service.sign_up()
    bearer = await service.log_in()

    refused = await service.ask(
        "POST", "/v1/login", json={"user": "ada", "password": "not this one, ever"}, headers=bearer
    )

    assert refused.status_code == 401
    assert (await service.ask("GET", "/v1/session", headers=bearer)).status_code == 200


async def test_a_passive_request_does_not_prolong_a_session(service: Service) -> None:
    """A request with `X-Session-Passive: 1` is answered, and its use is not recorded; any other value is none."""
    await service.sign_up()
    headers = await service.log_in()
    store = service.tollhouse.stores.sessions
    (record,) = await service.records()
    seen_at = await store.command("HINCRBY", record, "l", -120_000)

    passive = await service.ask("GET", "/v1/session", headers={**headers, "X-Session-Passive": "1"})
    await service.tollhouse.sessions.aclose()
    assert int(await store.command("HGET", record, "l")) == seen_at
    active = await service.ask("GET", "/v1/session", headers={**headers, "X-Session-Passive": "0"})
    await service.tollhouse.sessions.aclose()

    assert passive.json()["idle_expires_at"] == seen_at + 3_600_000
    assert active.json()["idle_expires_at"] > seen_at + 3_600_000
    assert int(await store.command("HGET", record, "l")) > seen_at


@pytest.mark.asvs("3.3.2", "3.3.4")
async def test_a_cookie_login_never_shows_the_token(service: Service) -> None:
    """ASVS 3.3.4: for browsers the token is only in Set-Cookie, HttpOnly, Lax, for the whole path."""
    await service.sign_up()

    response = await service.ask("POST", "/v1/login", json={"user": "ada", "password": PASSWORD})

    cookie = cookies_of(response)["tollhouse-dev"]
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert not cookie["secure"]
    assert not cookie["domain"]
    assert cookie.value not in response.text
    assert "token" not in response.json()
    who = await service.ask("GET", "/v1/session")  # the client kept the cookie
    assert who.json()["user"] == "ada"


async def test_a_browser_keeps_the_cookie_of_a_login_that_is_to_be_remembered(service: Service) -> None:
    """`"remember": true` is the policy `remember`: the cookie lasts as long as the session; else it has no lifetime."""
    await service.sign_up()
    credentials = {"user": "ada", "password": PASSWORD}

    plain = await service.ask("POST", "/v1/login", json=credentials)
    kept = await service.ask("POST", "/v1/login", json={**credentials, "remember": True})

    assert not cookies_of(plain)["tollhouse-dev"]["max-age"]
    cookie = cookies_of(kept)["tollhouse-dev"]
    session = kept.json()["session"]
    assert int(cookie["max-age"]) == (session["expires_at"] - session["created_at"]) // 1000 == 90 * 86_400
    refused = await service.ask("POST", "/v1/login", json={**credentials, "remember": "yes"})
    assert refused.status_code == 400


@pytest.mark.asvs("3.3.1", "3.3.3", "3.3.5")
async def test_over_https_the_cookie_has_the_host_prefix(valkey_socket: Path) -> None:
    """ASVS 3.3.1, 3.3.3: without plain_http the cookie is `__Host-tollhouse` and Secure."""
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", plain_http=False) as service:
        await service.sign_up()
        response = await service.ask("POST", "/v1/login", json={"user": "ada", "password": PASSWORD})

    cookies = cookies_of(response)
    assert set(cookies) == {"__Host-tollhouse", "__Host-tollhouse-device"}
    for name, cookie in cookies.items():
        assert len(name + cookie.value) <= 4_096
        assert cookie["secure"] is True
        assert cookie["path"] == "/"
        assert not cookie["domain"]


@pytest.mark.asvs("7.2.2", "7.2.4")
async def test_each_login_is_a_fresh_session(service: Service) -> None:
    """P5, ASVS 7.2.4: a login with a live session's cookie issues another token, and a planted cookie is no session."""
    await service.sign_up()
    first, second = await service.log_in(), await service.log_in()
    planted = {"Cookie": "tollhouse-dev=v1.00000000.ab.aaaaaaaaaaaaaaaaaaaaaaaaaa." + "x" * 43}

    refused = await service.ask("GET", "/v1/session", headers=planted)

    assert first != second
    assert refused.status_code == 401


async def test_unknown_and_wrong_look_alike(service: Service) -> None:
    """ASVS 6.3.8: a wrong password and an unknown name give the same status, headers and body."""
    await service.sign_up()

    wrong = await service.ask("POST", "/v1/login", json={"user": "ada", "password": "not her password"})
    unknown = await service.ask("POST", "/v1/login", json={"user": "bob", "password": "not her password"})

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert dict(wrong.headers) == dict(unknown.headers)


async def test_guessing_is_stopped_before_hashing(service: Service) -> None:
    """After five attempts on one account the sixth is 429, known account or not, and the response names no account."""
    answers = [
        await service.ask("POST", "/v1/login", json={"user": "nobody", "password": "guess number one"})
        for _ in range(6)
    ]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "nobody" not in answers[-1].text
    assert "lock" not in answers[-1].text


DEVICE = "tollhouse-dev-device"


async def test_a_login_makes_its_browser_a_trusted_device(service: Service) -> None:
    """The cookie is for the browser alone, for 180 days, and with it no guesses of others refuse the owner."""
    await service.sign_up()
    body = {"user": "ada", "password": PASSWORD}
    logged_in = await service.ask("POST", "/v1/login", json=body)
    cookie = next(one for one in logged_in.headers.get_list("set-cookie") if one.startswith(DEVICE))
    value = cookie.partition(";")[0].partition("=")[2]
    service.client.cookies.clear()
    for _ in range(5):
        await service.ask("POST", "/v1/login", json={**body, "password": "not her password"})

    refused = await service.ask("POST", "/v1/login", json=body)
    served = await service.ask("POST", "/v1/login", json=body, headers={"Cookie": f"{DEVICE}={value}"})

    assert {"HttpOnly", "Path=/", "Max-Age=15552000", "SameSite=lax"} <= set(cookie.split("; "))
    assert value not in logged_in.text
    assert "device_token" not in logged_in.json()
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:tollhouse:problem:throttled")
    assert served.status_code == 200


async def test_a_client_without_cookies_sends_its_device_itself(service: Service) -> None:
    """It gets `device_token` with its token and sends it with its next login."""
    await service.sign_up()
    body = {"user": "ada", "password": PASSWORD, "transport": "bearer"}
    logged_in = await service.ask("POST", "/v1/login", json=body)
    for _ in range(5):
        await service.ask("POST", "/v1/login", json={**body, "password": "not her password"})

    refused = await service.ask("POST", "/v1/login", json=body)
    served = await service.ask("POST", "/v1/login", json={**body, "device_token": logged_in.json()["device_token"]})

    assert not any(one.startswith(DEVICE) for one in logged_in.headers.get_list("set-cookie"))
    assert (refused.status_code, served.status_code) == (429, 200)


async def test_a_refusal_is_the_same_for_every_name(service: Service) -> None:
    """Known and unknown names, right and wrong passwords: the body, the status and the headers are the same."""
    await service.sign_up()
    answers = []
    for user in ("ada", "nobody"):
        for _ in range(5):
            await service.ask("POST", "/v1/login", json={"user": user, "password": "not a password"})
        answers.append(await service.ask("POST", "/v1/login", json={"user": user, "password": PASSWORD}))

    known, unknown = answers
    assert known.status_code == unknown.status_code == 429
    for answer in answers:
        wait_ms = answer.json()["retry_after_ms"]
        assert 0 < wait_ms <= 1_000
        assert {**answer.json(), "retry_after_ms": 0} == {**known.json(), "retry_after_ms": 0}
    assert known.headers["retry-after"] == unknown.headers["retry-after"] == "1"
    assert known.headers.keys() == unknown.headers.keys()


@pytest.mark.asvs("7.5.2")
async def test_devices_are_listed_and_ended(service: Service) -> None:
    """A user lists their sessions and revokes one by its sid; that one is refused from then on."""
    await service.sign_up()
    mine, other = await service.log_in(), await service.log_in()

    listed = (await service.ask("GET", "/v1/sessions", headers=mine)).json()["sessions"]
    victim = next(session["sid"] for session in listed if not session["current"])
    ended = await service.ask("DELETE", f"/v1/sessions/{victim}", headers=mine)
    again = await service.ask("DELETE", f"/v1/sessions/{victim}", headers=mine)

    assert len(listed) == 2
    assert ended.status_code == 204
    assert again.status_code == 404
    assert (await service.ask("GET", "/v1/session", headers=other)).status_code == 401
    assert (await service.ask("GET", "/v1/session", headers=mine)).status_code == 200


async def test_a_user_cannot_end_the_session_of_another(service: Service) -> None:
    """The sid of another user's session is 404, and that session lives on."""
    await service.sign_up("ada")
    await service.sign_up("bob")
    ada, bob = await service.log_in("ada"), await service.log_in("bob")
    sid = (await service.ask("GET", "/v1/session", headers=ada)).json()["sid"]

    refused = await service.ask("DELETE", f"/v1/sessions/{sid}", headers=bob)

    assert refused.status_code == 404
    assert (await service.ask("GET", "/v1/session", headers=ada)).status_code == 200


@pytest.mark.asvs("7.5.2")
async def test_the_others_can_be_ended_at_once(service: Service) -> None:
    """?except=current revokes every session but this one; without it the request is 400."""
    await service.sign_up()
    mine, *others = [await service.log_in() for _ in range(3)]

    vague = await service.ask("DELETE", "/v1/sessions", headers=mine)
    ended = await service.ask("DELETE", "/v1/sessions?except=current", headers=mine)

    assert vague.status_code == 400
    assert ended.status_code == 204
    assert [(await service.ask("GET", "/v1/session", headers=other)).status_code for other in others] == [401, 401]
    assert (await service.ask("GET", "/v1/session", headers=mine)).status_code == 200


@pytest.mark.asvs("7.4.1")
async def test_logout_is_final_and_clears_the_cookie(service: Service) -> None:
    """P4: after the response to a logout its token is refused, and the cookie is cleared."""
    await service.sign_up()
    headers = await service.log_in()

    left = await service.ask("POST", "/v1/logout", headers=headers)

    assert left.status_code == 204
    assert "max-age=0" in left.headers["set-cookie"].lower()
    assert left.headers["clear-site-data"] == '"cache", "storage"'
    assert (await service.ask("GET", "/v1/session", headers=headers)).status_code == 401


#   method, path, members, field, remedy
ENUMERATIONS = [
    ("POST", "/v1/login", {"user": "ada", "password": "x", "transport": "body"}, "transport", "bearer, cookie"),
    ("DELETE", "/v1/sessions?except=currant", None, "except", "did you mean 'current'?"),
]


@pytest.mark.parametrize(("method", "path", "members", "field", "remedy"), ENUMERATIONS)
async def test_a_word_that_is_none_of_a_few_gets_those(
    service: Service, method: str, path: str, members: dict[str, str] | None, field: str, remedy: str
) -> None:
    """The field has the name that the client gave it, and the remedy the words that can stand in it."""
    headers = bearer(await service.begin())

    response = await service.ask(method, path, json=members, headers=headers)

    assert response.status_code == 400
    assert response.json()["field"] == field
    assert remedy in response.json()["remedy"]


async def test_a_logout_of_a_session_that_is_over_clears_the_cookie_too(service: Service) -> None:
    """RFC 7009, 2.2: what a second logout asks for is so: 204, and the browser drops the cookie; no token is 401."""
    await service.sign_up()
    token = (await service.log_in())["Authorization"][7:]
    cookie, bearer = {"Cookie": f"tollhouse-dev={token}"}, {"Authorization": f"Bearer {token}"}

    for headers in (cookie, cookie, bearer):
        left = await service.ask("POST", "/v1/logout", headers=headers)
        assert left.status_code == 204
        assert left.headers["set-cookie"].startswith('tollhouse-dev=""; HttpOnly; Max-Age=0; Path=/')
    for headers, status in (({}, 401), ({"Cookie": "tollhouse-dev=none"}, 401), (SERVICE, 403)):
        refused = await service.ask("POST", "/v1/logout", headers=headers)
        assert (refused.status_code, "set-cookie" in refused.headers) == (status, False)


async def test_what_ends_sessions_says_whether_that_is_durable(service: Service) -> None:
    """`Tollhouse-Durable: false` if no replica confirms it; a refusal, and what changes no session, has none."""
    await service.sign_up()
    mine, other = await service.log_in(), await service.log_in()
    sid = (await service.ask("GET", "/v1/session", headers=other)).json()["sid"]
    login = {"user": "ada", "password": PASSWORD}

    for method, path, options in (
        ("DELETE", f"/v1/sessions/{sid}", {"headers": mine}),
        ("DELETE", "/v1/sessions?except=current", {"headers": mine}),
        ("POST", "/v1/logout", {"headers": mine}),
        ("POST", "/v1/logout", {"headers": mine}),
        ("POST", "/v1/login", {"json": login}),
    ):
        answer = await service.ask(method, path, **options)
        assert answer.headers.get_list("tollhouse-durable") == ["false"], (method, path, answer.status_code)
    for method, path in (("GET", "/v1/session"), ("DELETE", "/v1/sessions/none"), ("DELETE", "/v1/sessions")):
        assert "tollhouse-durable" not in (await service.ask(method, path)).headers


THIEF, OWNER = {"X-Forwarded-For": "203.0.113.66"}, {"X-Forwarded-For": "198.51.100.7"}
ENDING = [("DELETE", "/v1/sessions?except=current"), ("DELETE", "/v1/sessions/{other}"), ("POST", "/v1/logout")]


@asynccontextmanager
async def service_behind_a_proxy(valkey_socket: Path) -> AsyncGenerator[Service]:
    limits = LimitSettings(policies={"session": PolicySettings(limit="3/minute")})
    throttle = ThrottleSettings(address_failures=3, free_failures=3, all_failures=10)
    async with (
        embedded_world(valkey_socket),
        service_at(
            f"unix://{valkey_socket}",
            limits=limits,
            trusted_proxies=("loopback",),
            accounts=AccountSettings(throttle=throttle),
        ) as service,
    ):
        yield service


@pytest.mark.asvs("7.5.2")
@pytest.mark.parametrize("with_stolen_token", [True, False], ids=["elsewhere", "another session"])
@pytest.mark.parametrize(("method", "path"), ENDING)
async def test_a_thief_who_uses_up_the_limits_keeps_no_owner_from_ending_sessions(
    valkey_socket: Path, method: str, path: str, with_stolen_token: bool
) -> None:
    """A stolen token that used up all its limits stops neither its owner elsewhere nor another session beside it."""
    async with service_behind_a_proxy(valkey_socket) as service:
        await service.sign_up()
        stolen, second = await service.log_in(), await service.log_in()
        listed = (await service.ask("GET", "/v1/sessions", headers=second)).json()["sessions"]
        sids = {session["current"]: session["sid"] for session in listed}
        floods = [
            [(await service.ask(*request, headers={**stolen, **THIEF})).status_code for _ in range(4)]
            for request in (("GET", "/v1/session"), ("DELETE", "/v1/sessions/none"))
        ]
        headers = {**stolen, **OWNER} if with_stolen_token else {**second, **THIEF}
        answer = await service.ask(method, path.format(other=sids[with_stolen_token]), headers=headers)

    assert [flood[-1] for flood in floods] == [429, 404]
    assert answer.status_code == 204


@pytest.mark.asvs("7.5.2")
async def test_no_limit_refuses_to_end_a_session(valkey_socket: Path) -> None:
    """Guesses, wrong keys and a flood from the same address refuse neither the login before it nor any end."""
    async with service_behind_a_proxy(valkey_socket) as service:
        await service.sign_up()
        mine, other = await service.log_in(), await service.log_in()
        for number in range(40):
            guess = {"user": f"user-{number % 9}", "password": "not a password of anybody"}
            await service.ask("POST", "/v1/login", json={**guess, "user": "ada"} if number < 9 else guess)
            await service.ask("GET", "/v1/session", headers={"Authorization": f"Bearer wrong-key-{number:08}"})
        for _ in range(4):
            await service.ask("GET", "/v1/session", headers=mine)
        assert (await service.ask("GET", "/v1/session", headers=mine)).status_code == 429
        sid = (await service.ask("GET", "/v1/sessions", headers=other)).status_code
        refused = await service.ask("POST", "/v1/login", json={"user": "ada", "password": PASSWORD})
        fresh = await service.ask("POST", "/v1/session/reauth", json={"password": PASSWORD}, headers=mine)
        mine = {"Authorization": f"Bearer {fresh.json()['token']}"}
        ends = [
            (await service.ask(method, path.format(other="none"), headers=mine)).status_code
            for method, path in [*ENDING[1:2] * 70, ENDING[0], ENDING[2]]
        ]

    assert (refused.status_code, fresh.status_code, sid) == (429, 200, 429)
    assert ends == [404] * 70 + [204, 204]


async def test_of_two_good_credentials_the_bearer_token_is_meant(service: Service) -> None:
    """A client sends a bearer token on purpose and cookies always: beside a cookie, good or stale, it decides."""
    await service.sign_up("ada")
    await service.sign_up("bob")
    ada, bob = await service.log_in("ada"), await service.log_in("bob")

    for cookie in ("other", bob["Authorization"][7:]):
        response = await service.ask("GET", "/v1/session", headers={**ada, "Cookie": f"tollhouse-dev={cookie}"})
        assert (response.status_code, response.json()["user"]) == (200, "ada")


#   headers, status
CROSS_SITE = [
    ({}, 401),
    ({"Sec-Fetch-Site": "same-origin"}, 401),
    ({"Sec-Fetch-Site": "none"}, 401),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Origin": "http://testserver"}, 401),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://["}, 403),
    ({"Origin": "http://[::1]x"}, 403),
    ({"Origin": "http://testserver/"}, 403),
    ({"Origin": "testserver"}, 403),
    ({"Origin": ""}, 403),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 401),
    ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
]


@pytest.mark.asvs("3.5.1", "3.5.2", "7.6.2")
@pytest.mark.parametrize(("headers", "status"), CROSS_SITE)
async def test_no_other_site_makes_a_browser_log_in(service: Service, headers: dict[str, str], status: int) -> None:
    """ASVS 3.5: unsafe requests of other sites are 403, bodies that forms can send are 415, the rest is served."""
    body = b'{"user": "nobody", "password": "wrong password"}'

    response = await service.ask(
        "POST", "/v1/login", content=body, headers={"Content-Type": "application/json", **headers}
    )

    assert response.status_code == status


#   body, field
BAD_BODIES = [
    ({"user": "ada"}, "password"),
    ({"user": "ada", "password": 7}, "password"),
    ({"user": "ada", "password": PASSWORD, "role": "admin"}, "role"),
    ({"user": "", "password": PASSWORD}, "user"),
    ({"user": "a\u0007da", "password": PASSWORD}, "user"),
    ({"user": "ada", "password": "x7q9-kk3v"}, "password"),
    ({"user": "ada", "password": "x" * 2000}, "password"),
    ({"user": "ada", "password": "passwordpassword"}, "password"),
]


@pytest.mark.parametrize(("body", "field"), BAD_BODIES)
async def test_a_bad_sign_up_names_the_field_and_hides_the_password(
    service: Service, body: dict[str, object], field: str
) -> None:
    """Bad input is 400 or 422 problem details that name the field and the remedy; a password is never repeated."""
    response = await service.ask("POST", "/v1/accounts", json=body)

    assert response.status_code in (400, 422)
    assert field in response.json()["detail"]
    assert str(body.get("password", "no password")) not in response.text


async def test_a_weak_password_is_answered_with_the_rules_that_it_breaks(service: Service) -> None:
    """An application can tell its user, in the words of its own, what is wrong with the password."""
    response = await service.ask("POST", "/v1/accounts", json={"user": "ada", "password": "Summer2026Summer2026"})

    answer = response.json()
    assert (response.status_code, answer["type"]) == (422, "urn:tollhouse:problem:weak-password")
    assert set(answer["rules"]) == {"common", "date", "repeated"}
    assert "Summer" not in response.text


@pytest.mark.parametrize("path", ["/v1/accounts", "/v1/login"])
@pytest.mark.parametrize("again", [b'"user": "eve"', b'"\\u0075ser": "eve"', b'"password": "another one of hers"'])
async def test_credentials_are_named_once(service: Service, path: str, again: bytes) -> None:
    """400 for a member that comes twice: what looks at a login before us may read the other one."""
    await service.sign_up("eve")
    body = b'{"user": "ada", "password": "%b", %b}' % (PASSWORD.encode(), again)

    refused = await service.ask("POST", path, content=body, headers={"Content-Type": "application/json"})

    assert (refused.status_code, refused.json()["field"]) == (400, "body")
    assert PASSWORD not in refused.text
    assert await service.records() == []


async def test_a_strange_user_agent_is_no_obstacle(service: Service) -> None:
    """A device is named by the printable part of its User-Agent, of any length and content."""
    await service.sign_up()
    body = {"user": "ada", "password": PASSWORD, "transport": "bearer"}
    odd = {"User-Agent": "Odd\tBrowser \x1f" + "x" * 500}

    response = await service.ask("POST", "/v1/login", json=body, headers=odd)
    headers = {"Authorization": f"Bearer {response.json()['token']}"}
    (device,) = (await service.ask("GET", "/v1/sessions", headers=headers)).json()["sessions"]

    assert response.status_code == 200
    assert device["device"].startswith("Odd Browser")
    assert len(device["device"]) <= 120


async def test_a_service_that_is_closed_to_sign_ups_takes_them_from_services(valkey_socket: Path) -> None:
    """With `accounts.sign_up` off a client gets 403, whatever session it has, and a service key creates accounts."""
    body = {"user": "ada", "password": PASSWORD}
    closed = AccountSettings(sign_up=False)
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", accounts=closed) as service:
        alone = await service.ask("POST", "/v1/accounts", json=body)
        token = await service.begin("eve")
        with_session = await service.ask("POST", "/v1/accounts", json=body, headers=bearer(token))
        with_key = await service.ask("POST", "/v1/accounts", json=body, headers=SERVICE)

    assert [answer.status_code for answer in (alone, with_session, with_key)] == [403, 403, 201]
    assert alone.json()["type"] == "urn:tollhouse:problem:sign-up-closed"
