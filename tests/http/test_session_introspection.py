"""Sessions of applications that log users in themselves: begin one, and introspect a token (RFC 7662)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import ADMIN, SERVICE, Service, bearer, cookie
from tollhouse.sessions.tokens import new_secret

BEGIN, INTROSPECT, WHO = "/v1/sessions", "/v1/introspect", "/v1/session"
FORM = "application/x-www-form-urlencoded"


async def introspect(service: Service, form: Any, **headers: str) -> Any:
    return await service.ask("POST", INTROSPECT, data=form, headers={**SERVICE, **headers})


async def test_a_service_begins_a_session(service: Service) -> None:
    """201 with the session and its token, which opens it as any other; always another token."""
    login = {"acr": "aal2", "amr": ["pwd", "otp"]}
    body = {"user": "ada", "policy": "remember", "device": "Kiosk 7", **login}

    first, second = [await service.ask("POST", BEGIN, json=body, headers=SERVICE) for _ in range(2)]
    listed = await service.ask("GET", BEGIN, headers=bearer(first.json()["token"]))

    assert (first.status_code, set(first.json())) == (201, {"session", "token", "durable"})
    assert (first.json()["session"]["user"], first.headers["tollhouse-durable"]) == ("ada", "false")
    assert "set-cookie" not in first.headers
    assert first.json()["token"] != second.json()["token"]
    for one in listed.json()["sessions"]:
        assert (one["device"], one["policy"], one["acr"], one["amr"]) == ("Kiosk 7", "remember", "aal2", ["pwd", "otp"])
    found = (await introspect(service, {"token": first.json()["token"]})).json()
    assert (found["acr"], found["amr"], found["auth_time"]) == ("aal2", ["pwd", "otp"], found["iat"])


async def test_a_session_begins_with_its_data(service: Service) -> None:
    """One request makes both or none."""
    body = {"user": "ada", "data": {"cart": [1], "none": None}}

    issued = await service.ask("POST", BEGIN, json=body, headers=SERVICE)
    found = await service.ask("GET", f"{WHO}/data", headers=bearer(issued.json()["token"]))

    assert found.json() == {"values": {"cart": [1]}, "version": 1}


async def test_what_a_login_replaces_ends(service: Service) -> None:
    """ASVS 7.2.4: the session that the browser had ends with the login, also another user's."""
    token = await service.begin("eve")

    await service.ask("POST", BEGIN, json={"user": "ada", "replaces": token}, headers=SERVICE)

    assert (await service.ask("GET", WHO, headers=bearer(token))).status_code == 401


async def test_a_disabled_user_gets_no_session(service: Service) -> None:
    """409 says why, since only a service reads it."""
    await service.tollhouse.sessions.disable("ada")

    refused = await service.ask("POST", BEGIN, json={"user": "ada"}, headers=SERVICE)

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:tollhouse:problem:session-refused")
    assert refused.json()["reason"] == "disabled"


#   body, status, field
BAD_BODIES: list[tuple[bytes, int, str]] = [
    (b'{"user": ""}', 422, "user"),
    (b'{"user": "%b"}' % (b"x" * 257), 422, "user"),
    (b'{"user": "a\\u0000"}', 422, "user"),
    (b'{"user": "ada", "policy": "defualt"}', 422, "policy"),
    (b'{"user": "ada", "device": "a\\nb"}', 422, "device"),
    (b'{"user": "ada", "device": "%b"}' % (b"x" * 121), 422, "device"),
    (b'{"user": "ada", "acr": ""}', 422, "acr"),
    (b'{"user": "ada", "amr": ["a b"]}', 422, "amr"),
    (b'{"user": "ada", "amr": "pwd"}', 400, "amr"),
    (b'{"user": "ada", "data": {"a b": 1}}', 422, "name"),
    (b'{"user": "ada", "data": {"a": "%b"}}' % (b"x" * 16_384), 422, "data"),
    (b'{"user": "ada", "data": {"a": 1, "a": 2}}', 400, "body"),
    (b'{"user": "ada", "data": []}', 400, "data"),
    (b'{"user": 1}', 400, "user"),
    (b'{"user": null}', 400, "user"),
    (b"{}", 400, "body"),
    (b'{"user": "ada", "user": "eve"}', 400, "body"),
    (b'{"user": "ada", "sid": "x"}', 400, "body"),
    (b'{"user": "ada", "replaces": 1}', 400, "replaces"),
    (b"[]", 400, "body"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD_BODIES)
async def test_a_bad_beginning_names_the_field(service: Service, body: bytes, status: int, field: str) -> None:
    """Bad input is 400 or 422, and no session begins."""
    headers = {**SERVICE, "Content-Type": "application/json"}

    refused = await service.ask("POST", BEGIN, content=body, headers=headers)

    assert (refused.status_code, refused.json()["field"]) == (status, field)
    assert await service.tollhouse.stores.sessions.command("DBSIZE") == 0


async def test_introspection_tells_what_a_token_opens(service: Service) -> None:
    """RFC 7662, 2.2: active, and whose session it is, in whole seconds; a hint makes no difference."""
    token = await service.begin(device="Kiosk 7")
    session = (await service.ask("GET", WHO, headers=bearer(token))).json()

    answer = await introspect(service, {"token": token, "token_type_hint": "refresh_token"})

    assert answer.status_code == 200
    assert answer.json() == {
        "active": True,
        "sub": "ada",
        "sid": session["sid"],
        "iat": session["created_at"] // 1000,
        "exp": session["expires_at"] // 1000,
        "idle_exp": session["idle_expires_at"] // 1000,
        "auth_time": session["authenticated_at"] // 1000,
        "policy": "default",
        "device": "Kiosk 7",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    await service.make_due()
    assert (await introspect(service, {"token": token})).json()["renewal_due"] is True


async def test_who_acts_as_a_user_was_not_authenticated_as_that(service: Service) -> None:
    """No `auth_time` of the user, and no end of the user's other sessions, which the user alone may ask for."""
    admin = await service.tollhouse.sessions.create("root")
    own = await service.begin()
    who = {"actor": "root", "actor_sid": admin.session.sid, "reason": "ticket 4711"}
    acting = (await service.tollhouse.sessions.impersonate("ada", **who)).token.reveal()

    told = (await service.ask("POST", INTROSPECT, headers=SERVICE, data={"token": acting})).json()
    refused = await service.ask("DELETE", "/v1/sessions?except=current", headers=bearer(acting))

    assert (told["sub"], told["act"]["sub"]) == ("ada", "root")
    assert "auth_time" not in told
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (403, "impersonated")
    assert await service.tollhouse.sessions.verify(own) is not None


async def test_what_opens_nothing_is_inactive_and_no_more(service: Service) -> None:
    """RFC 7662, 2.2: the answer does not tell an ended session from a wrong secret or any other text."""
    token = await service.begin()
    wrong = token[:-43] + new_secret()
    await service.tollhouse.sessions.revoke_all("ada")

    for text in (token, wrong, "none", "a b&=%é", "v1." + "x" * 10_000):
        answer = await introspect(service, {"token": text})
        assert (answer.status_code, answer.content) == (200, b'{"active":false}'), text


async def test_introspection_is_a_use_unless_it_says_otherwise(service: Service) -> None:
    """The user of a service uses the session by it; a request with `X-Session-Passive: 1` does not prolong it."""
    token = await service.begin()
    store = service.tollhouse.stores.sessions
    (record,) = await service.records()
    seen_at = await store.command("HINCRBY", record, "l", -120_000)

    passive = await introspect(service, {"token": token}, **{"X-Session-Passive": "1"})
    active = await introspect(service, {"token": token})

    assert passive.json()["idle_exp"] == (seen_at + 3_600_000) // 1000
    assert active.json()["idle_exp"] > (seen_at + 3_600_000) // 1000


async def test_introspection_checks_a_form_token(service: Service) -> None:
    """An application in another language has its forms checked in the same call; without one nothing is said."""
    token, other = await service.begin(), await service.begin("eve")
    mine = (await service.ask("GET", f"{WHO}/csrf-token", headers=cookie(token))).json()["csrf_token"]

    right = await introspect(service, {"token": token, "csrf_token": mine})
    anothers = await introspect(service, {"token": other, "csrf_token": mine})
    empty = await introspect(service, {"token": token, "csrf_token": ""})

    assert right.json()["csrf_token_valid"] is True
    assert anothers.json()["csrf_token_valid"] is False
    assert empty.json()["csrf_token_valid"] is False
    assert "csrf_token_valid" not in (await introspect(service, {"token": token})).json()


#   body, media type, status, field
BAD_FORMS: list[tuple[bytes, str, int, str | None]] = [
    (b"", FORM, 400, "token"),
    (b"token=", FORM, 400, "token"),
    (b"token_type_hint=x", FORM, 400, "token"),
    (b"token", FORM, 400, "body"),
    (b"token=a&token=a", FORM, 400, "body"),
    (b"token=a&%74oken=b", FORM, 400, "body"),
    (b"token=a&client_id=b", FORM, 400, "client_id"),
    (b"token=a&V1.X=b", FORM, 400, "body"),
    (b"token=a;token_type_hint=b&", FORM, 400, "body"),
    (b"token=%ff", FORM, 400, "body"),
    (b"token=\xc3\xa9", FORM, 400, "body"),
    (b"&".join([b"token=a"] * 1_000), FORM, 400, "body"),
    (b'{"token": "a"}', "application/json", 415, None),
    (b"token=a", "text/plain", 415, None),
    (b"token=a", "", 415, None),
    (b"token=" + b"a" * 2_000_000, FORM, 413, None),
]


@pytest.mark.parametrize(("body", "media_type", "status", "field"), BAD_FORMS)
async def test_a_bad_form_is_refused(
    service: Service, body: bytes, media_type: str, status: int, field: str | None
) -> None:
    """RFC 6749, 3.1: a parameter comes once. What is unknown or cannot be read is refused, and never repeated."""
    headers = {**SERVICE, **({"Content-Type": media_type} if media_type else {})}

    refused = await service.ask("POST", INTROSPECT, content=body, headers=headers)

    assert (refused.status_code, refused.json().get("field")) == (status, field)
    assert "V1.X" not in refused.text


async def test_other_callers_do_neither(service: Service) -> None:
    """401 without a key, 403 for a user; a page of another site cannot ask, whatever it sends."""
    token = await service.begin()

    for path, options in ((BEGIN, {"json": {"user": "ada"}}), (INTROSPECT, {"data": {"token": token}})):
        statuses = [
            (await service.ask("POST", path, headers=headers, **options)).status_code
            for headers in ({}, bearer(token), cookie(token), {**SERVICE, "Sec-Fetch-Site": "cross-site"}, ADMIN)
        ]
        assert statuses == [401, 403, 403, 403, 201 if path == BEGIN else 200]
    assert (await service.ask("GET", f"{INTROSPECT}?token={token}", headers=SERVICE)).status_code == 405
    assert (await service.ask("POST", f"{INTROSPECT}?token={token}", headers=SERVICE)).status_code == 400
