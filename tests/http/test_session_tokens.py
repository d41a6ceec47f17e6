"""New tokens for a session over HTTP: rotation, renewal by whichever response is the next, and tokens for forms."""

from __future__ import annotations

import asyncio
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.http.client import ADMIN, PASSWORD, SERVICE, Service, bearer, cookie, service_at
from tests.worlds import embedded_world
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.renewal import FRESH_S, Renewals
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued, Rotation
from tollhouse.sessions.policies import POLICIES
from tollhouse.settings.sessions import SessionPolicySettings, SessionSettings

WHO = "/v1/session"


def cookies_of(answer: httpx2.Response) -> list[Morsel[str]]:
    """Return the session cookies that a response sets, one for each field."""
    fields = (SimpleCookie(field) for field in answer.headers.get_list("set-cookie"))
    return [field["tollhouse-dev"] for field in fields if "tollhouse-dev" in field]


async def whose(service: Service, headers: dict[str, str]) -> int:
    """Return the status of a request that is no use of its session."""
    service.client.cookies.clear()
    return (await service.ask("GET", WHO, headers={**headers, "X-Session-Passive": "1"})).status_code


async def test_a_rotation_answers_the_way_that_it_was_asked(service: Service) -> None:
    """ASVS 3.3.4: a cookie client gets a cookie and no token in the body, a bearer client the token and no cookie."""
    token = await service.begin()

    by_cookie = await service.ask("POST", f"{WHO}/rotate", headers=cookie(token))
    (held,) = cookies_of(by_cookie)
    by_bearer = await service.ask("POST", f"{WHO}/rotate", headers=bearer(held.value))

    assert (by_cookie.status_code, by_bearer.status_code) == (200, 200)
    assert set(by_cookie.json()) == {"session", "durable"}
    assert set(by_bearer.json()) == {"session", "durable", "token"}
    assert cookies_of(by_bearer) == []
    assert {answer.headers["tollhouse-durable"] for answer in (by_cookie, by_bearer)} == {"false"}
    for former in (token, held.value):
        assert await whose(service, bearer(former)) == 401
    assert await whose(service, bearer(by_bearer.json()["token"])) == 200


#   policy, SameSite, Max-Age in seconds
ATTRIBUTES = [("default", "lax", ""), ("remember", "lax", 90 * 86_400), ("admin", "strict", "")]


@pytest.mark.parametrize(("policy", "same_site", "max_age_s"), ATTRIBUTES)
async def test_the_policy_of_a_session_chooses_the_attributes_of_its_cookie(
    service: Service, policy: str, same_site: str, max_age_s: int | str
) -> None:
    """Each new cookie has them: a persistent one lasts until the session's end; no other persists (RFC 6265bis)."""
    token = await service.begin(policy=policy)

    (rotated,) = cookies_of(await service.ask("POST", f"{WHO}/rotate", headers=cookie(token)))
    await service.make_due()
    (renewed,) = cookies_of(await service.ask("GET", WHO, headers=cookie(rotated.value)))

    for held in (rotated, renewed):
        assert (held["samesite"], held["path"], held["httponly"]) == (same_site, "/", True)
        assert held["max-age"] in (str(max_age_s), str(max_age_s - 1) if isinstance(max_age_s, int) else "")


async def test_the_settings_choose_the_policies(valkey_socket: Path) -> None:
    """A policy of the settings decides about cookies and renewal, in the service as in an application."""
    policy = SessionPolicySettings(
        idle_ms=3_600_000, absolute_ms=7_200_000, renew_ms=60_000, cookie="persistent", same_site="strict"
    )
    chosen = SessionSettings(policies={"default": policy})
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", sessions=chosen) as service:
        token = await service.begin()
        (record,) = await service.records()
        (held,) = cookies_of(await service.ask("POST", f"{WHO}/rotate", headers=cookie(token)))

        assert int(await service.tollhouse.stores.sessions.command("HGET", record, "n")) == 60_000
        assert (held["samesite"], held["max-age"]) in (("strict", "7200"), ("strict", "7199"))


async def test_a_cookie_lasts_no_longer_than_its_session(service: Service) -> None:
    """The later a persistent cookie is set, the shorter it lasts: its end is the session's, which use does not move."""
    token = await service.begin(policy="remember")
    store = service.tollhouse.stores.sessions
    (record,) = await service.records()
    await store.command("HINCRBY", record, "x", -80 * 86_400_000)

    (held,) = cookies_of(await service.ask("POST", f"{WHO}/rotate", headers=cookie(token)))

    assert 10 * 86_400 - 60 <= int(held["max-age"]) <= 10 * 86_400


async def test_a_policy_that_is_no_more_has_the_cookie_of_the_default(service: Service) -> None:
    """A session outlives the name of its policy; its cookie is then one that does not persist."""
    token = await service.begin()
    store = service.tollhouse.stores.sessions
    (record,) = await service.records()
    await store.command("HSET", record, "p", "gone")

    (held,) = cookies_of(await service.ask("POST", f"{WHO}/rotate", headers=cookie(token)))

    assert (held["samesite"], held["max-age"]) == ("lax", "")


async def test_a_session_that_is_due_is_renewed_by_its_next_response(service: Service) -> None:
    """A request with a cookie that is due gets the successor by Set-Cookie; one that has it already gets none."""
    token = await service.begin()
    await service.make_due()

    first = await service.ask("GET", WHO, headers=cookie(token))
    (held,) = cookies_of(first)
    second = await service.ask("GET", WHO, headers=cookie(held.value))

    assert (first.status_code, first.json()["renewal_due"]) == (200, False)
    assert held.value != token
    assert held.value not in first.text
    assert (second.status_code, cookies_of(second)) == (200, [])


async def test_requests_side_by_side_get_the_same_token(service: Service) -> None:
    """Ten requests at the moment of renewal: all are served, each sets the same one cookie, and that one lives."""
    token = await service.begin()
    await service.make_due()

    answers = await asyncio.gather(*(service.ask("GET", WHO, headers=cookie(token)) for _ in range(10)))
    values = {held.value for answer in answers for held in cookies_of(answer)}

    assert {answer.status_code for answer in answers} == {200}
    assert len(values) == 1
    assert values != {token}
    assert await whose(service, cookie(values.pop())) == 200


async def test_a_late_request_with_the_former_token_gets_no_former_cookie(service: Service) -> None:
    """Two tabs are no theft: in its grace the former token is served, and its response has the successor."""
    token = await service.begin()
    await service.make_due()
    (held,) = cookies_of(await service.ask("GET", WHO, headers=cookie(token)))
    await service.ask("GET", WHO, headers=cookie(held.value))
    await service.tollhouse.sessions.aclose()

    late = await service.ask("GET", WHO, headers=cookie(token))

    assert late.status_code == 200
    assert [again.value for again in cookies_of(late)] == [held.value]


#   method, path, body, status
ANY_ROUTE: list[tuple[str, str, Any, int]] = [
    ("DELETE", "/v1/sessions/none", None, 404),
    ("GET", "/v1/cache/stats", None, 403),
    ("GET", "/v1/session?a=1", None, 400),
    ("PATCH", "/v1/session/data", {"a": 1}, 200),
    ("POST", "/v1/session/renew", None, 200),
    ("POST", "/v1/ai/none", {"input": 1}, 422),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ANY_ROUTE)
async def test_any_route_renews(service: Service, method: str, path: str, body: Any, status: int) -> None:
    """It makes no difference which route answers a request with a cookie that is due, nor whether it refuses."""
    token = await service.begin()
    await service.make_due()

    answer = await service.ask(method, path, headers=cookie(token), json=body)

    assert answer.status_code == status
    assert len(cookies_of(answer)) == 1
    assert await whose(service, cookie(cookies_of(answer)[0].value)) == 200
    assert "token" not in answer.json()


async def test_passive_requests_and_bearer_clients_are_not_renewed_unasked(service: Service) -> None:
    """A passive request is no use of the session, and a bearer client has to read its token in a body."""
    token = await service.begin()
    await service.make_due()

    passive = await service.ask("GET", WHO, headers={**cookie(token), "X-Session-Passive": "1"})
    asked = await service.ask("GET", WHO, headers=bearer(token))
    renewed = [await service.ask("POST", f"{WHO}/renew", headers=bearer(token)) for _ in range(2)]
    held = await service.ask("POST", f"{WHO}/renew", headers=bearer(renewed[0].json()["token"]))

    for answer in (passive, asked):
        assert (answer.json()["renewal_due"], cookies_of(answer)) == (True, [])
    assert renewed[0].json()["token"] == renewed[1].json()["token"] == held.json()["token"] != token
    assert [cookies_of(answer) for answer in (*renewed, held)] == [[]] * 3


async def test_a_response_that_sets_the_cookie_itself_sets_it_once(service: Service) -> None:
    """Login, rotation and logout with a cookie that is due: their own cookie is the only one."""
    await service.sign_up()
    for path, body in (
        ("/v1/login", {"user": "ada", "password": PASSWORD}),
        (f"{WHO}/rotate", None),
        ("/v1/logout", None),
    ):
        token = await service.begin()
        await service.make_due()
        answer = await service.ask("POST", path, headers=cookie(token), json=body)
        (held,) = cookies_of(answer)
        assert await whose(service, cookie(held.value)) == (200 if held.value else 401)
        assert await whose(service, cookie(token)) == 401


async def test_a_renewal_brings_no_session_back(service: Service) -> None:
    """After a revocation a token that was due opens nothing, and its response sets no cookie."""
    token = await service.begin()
    await service.make_due()
    await service.tollhouse.sessions.revoke_all("ada")

    answer = await service.ask("GET", WHO, headers=cookie(token))

    assert (answer.status_code, cookies_of(answer)) == (401, [])


async def test_a_renewal_that_fails_does_not_fail_the_request(own_service: Service) -> None:
    """A primary that may not write renews no token: the request goes on with the one that it has, and waits little."""
    service = own_service
    token = await service.begin()
    await service.make_due()
    store = service.tollhouse.stores.sessions
    await store.command("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        answer = await service.ask("GET", "/v1/cache/stats", headers=cookie(token))
    finally:
        await store.command("CONFIG", "SET", "min-replicas-to-write", 0)

    assert (answer.status_code, cookies_of(answer)) == (403, [])
    assert await whose(service, cookie(token)) == 200
    assert (
        'session_operations_total{operation="renew",outcome="failed"} 1.0'
        in (await service.ask("GET", "/metrics")).text
    )


async def test_what_is_no_token_is_counted(own_service: Service) -> None:
    """A client that sends another text in place of its token shows in the metrics, and costs no call of the store."""
    for headers in (cookie("none"), bearer("none")):
        assert (await own_service.ask("GET", WHO, headers=headers)).status_code == 401

    text = (await own_service.ask("GET", "/metrics")).text
    assert 'session_operations_total{operation="verify",outcome="malformed"} 2.0' in text


async def test_a_slow_response_leaves_the_cookie_as_it_is(service: Service) -> None:
    """A response that begins long after its renewal may be about a token that was replaced since: it sets none."""
    issued = await service.tollhouse.sessions.create("ada")
    assert isinstance(issued, Issued)
    now_s, sent = [0.0], list[Any]()
    cookies = SessionCookies(POLICIES, plain_http=True)
    renewals = Renewals(service.tollhouse.sessions, Metrics(), cookies, clock=lambda: now_s[0])
    rotation = Rotation(session=issued.session, token=issued.token, durable=False)

    async def send(message: Any) -> None:
        sent.append(message)

    for age_s in (0.0, FRESH_S - 0.1, FRESH_S):
        now_s[0] = 0.0
        sending = renewals.setting_cookie(rotation, send)
        now_s[0] = age_s
        await sending({"type": "http.response.start", "status": 200, "headers": []})
        await sending({"type": "http.response.body", "body": b"", "more_body": False})

    assert [len(message["headers"]) for message in sent[::2]] == [1, 1, 0]
    assert {message["type"] for message in sent[1::2]} == {"http.response.body"}


async def test_a_form_token_is_one_of_its_session(service: Service) -> None:
    """The token of GET /v1/session/csrf-token counts for its session in the library, and for no other."""
    token, other = await service.begin(), await service.begin("eve")
    sessions = service.tollhouse.sessions
    own, others = await sessions.verify(token), await sessions.verify(other)
    assert own is not None
    assert others is not None

    answer = await service.ask("GET", f"{WHO}/csrf-token", headers=cookie(token))
    csrf_token = answer.json()["csrf_token"]

    assert (answer.status_code, set(answer.json())) == (200, {"csrf_token"})
    assert sessions.is_csrf_token(own, csrf_token)
    assert not sessions.is_csrf_token(others, csrf_token)
    assert sessions.is_csrf_token(own, sessions.csrf_token(own))
    assert (await service.ask("GET", f"{WHO}/csrf-token", headers=SERVICE)).status_code == 403
    assert (await service.ask("GET", f"{WHO}/csrf-token", headers=ADMIN)).status_code == 403
