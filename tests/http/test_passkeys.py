"""Passkeys over HTTP: the login without a name, the second step, the step-up, and how they are added and removed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.authenticators import PRESENT, Authenticator
from tests.http.client import ADMIN, PASSWORD, Service, bearer, cookie, cookies_of, service_at
from tests.http.test_second_factor import enrolled, kind, post, ticket
from tests.worlds import embedded_world
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.passkeys import PasskeySettings
from tollhouse.settings.sessions import SessionPolicySettings, SessionSettings
from tollhouse.settings.totp import TotpSettings

ORIGIN = "http://localhost:8000"
LOGIN, OPTIONS, REAUTH = "/v1/login/passkey", "/v1/login/passkey/options", "/v1/session/reauth/passkey"
ACCOUNT, PASSKEYS = "/v1/account", "/v1/account/passkeys"
HOUR_MS = 3_600_000
REFUSED = (401, "passkey-refused")


@pytest.fixture(scope="module")
async def running(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service on plain HTTP, whose passkeys are those of localhost without any setting."""
    accounts = AccountSettings(totp=TotpSettings(window=1))
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", accounts=accounts) as service:
        yield service


@pytest.fixture
async def service(running: Service) -> Service:
    await running.renew()
    return running


@pytest.fixture
def device() -> Authenticator:
    return Authenticator(origin=ORIGIN)


async def added(service: Service, device: Authenticator, headers: dict[str, str], **body: Any) -> httpx2.Response:
    """Add a passkey in a session."""
    asked = await post(service, f"{PASSKEYS}/options", **headers)
    assert asked.status_code == 200, asked.text
    credential = device.create(asked.json()["publicKey"])
    answer = await post(service, PASSKEYS, {"credential": credential, "name": "my phone", **body}, **headers)
    assert answer.status_code == 201, answer.text
    return answer


async def signed_up(service: Service, device: Authenticator, user: str = "ada") -> dict[str, str]:
    """Sign up and add a passkey; return the headers of the session of the password."""
    await service.sign_up(user)
    headers = await service.log_in(user)
    await added(service, device, headers)
    return headers


async def shown(service: Service, device: Authenticator, held: str | None = None, **wrong: Any) -> dict[str, Any]:
    """Return the answer of a device to new options, of a login or with the ticket of one."""
    asked = await post(service, OPTIONS, {} if held is None else {"ticket": held})
    assert asked.status_code == 200, asked.text
    return device.get(asked.json()["publicKey"], **wrong)


async def by_passkey(service: Service, device: Authenticator, **body: Any) -> httpx2.Response:
    credential = await shown(service, device, body.get("ticket"))
    return await post(service, LOGIN, {"credential": credential, "transport": "bearer", **body})


async def strong(service: Service, device: Authenticator) -> dict[str, str]:
    """Return the headers of a session of a passkey."""
    return bearer((await by_passkey(service, device)).json()["token"])


async def test_a_passkey_logs_in_without_a_name(service: Service, device: Authenticator) -> None:
    """Options for the browser, its answer, and then all that a login answers: the cookie, the device and its trust."""
    await signed_up(service, device)
    asked = await post(service, OPTIONS, {})
    options = asked.json()["publicKey"]
    assert (options["rpId"], options["allowCredentials"], options["userVerification"]) == ("localhost", [], "required")
    assert asked.headers["cache-control"] == "no-store"

    answer = await post(service, LOGIN, {"credential": device.get(options), "remember": True})

    session = answer.json()["session"]
    assert (session["user"], session["acr"], session["amr"]) == ("ada", "aal2", ["hwk", "user", "mfa"])
    assert (answer.status_code, answer.headers["tollhouse-durable"]) == (200, "false")
    assert "token" not in answer.json()
    cookies = cookies_of(answer)
    assert set(cookies) == {"tollhouse-dev", "tollhouse-dev-device"}
    assert int(cookies["tollhouse-dev"]["max-age"]) > 24 * 3600
    listed = (await service.ask("GET", PASSKEYS, headers=cookie(cookies["tollhouse-dev"].value))).json()
    assert listed["passkeys"][0]["last_used_at"] >= listed["passkeys"][0]["created_at"]


async def test_a_client_without_cookies_gets_its_tokens(service: Service, device: Authenticator) -> None:
    """By `transport` `bearer`, and its device token goes with the next login."""
    await signed_up(service, device)

    first = await by_passkey(service, device)
    again = await by_passkey(service, device, device_token=first.json()["device_token"])

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["token"] != first.json()["token"]


@pytest.mark.parametrize(
    "wrong", [{"flags": PRESENT}, {"origin": "http://localhost:8001"}, {"rp_id": "example.com"}, {"handle": "AAAA"}]
)
async def test_whatever_is_wrong_it_is_one_refusal(service: Service, device: Authenticator, wrong: Any) -> None:
    """401 `passkey-refused`: the body does not tell an unknown passkey from a wrong signature, nor sets a cookie."""
    await signed_up(service, device)

    answer = await post(service, LOGIN, {"credential": await shown(service, device, **wrong)})

    assert kind(answer) == REFUSED
    assert "set-cookie" not in answer.headers
    assert answer.headers["www-authenticate"].startswith("Bearer error=")
    unknown = Authenticator(origin=ORIGIN)
    unknown.create({"user": {"id": "AAAA"}, "rp": {"id": "localhost"}, "challenge": "AAAA"})
    other = await post(service, LOGIN, {"credential": await shown(service, unknown)})
    assert other.text == answer.text


async def test_an_answer_is_good_once(service: Service, device: Authenticator) -> None:
    """Sent again it is refused, though the authenticator does not count."""
    device.counts = False
    await signed_up(service, device)
    credential = await shown(service, device)

    answers = [await post(service, LOGIN, {"credential": credential}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 401]


@pytest.mark.parametrize(
    ("credential", "status", "field"),
    [
        (None, 400, "credential"),
        ("x", 400, "credential"),
        ([], 400, "credential"),
        ({}, 422, "credential"),
        ({"id": 7}, 422, "credential.id"),
        ({"id": "A" * 100_000}, 422, "credential.id"),
        ({"id": "AAAA", "rawId": "AAAA", "type": "password", "response": {}}, 422, "credential.type"),
        ({"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {}}, 422, "credential.response"),
    ],
)
async def test_what_no_browser_answers_names_the_member(
    service: Service, credential: Any, status: int, field: str
) -> None:
    """Wherever an answer is sent; its values are not repeated."""
    headers = bearer(await service.begin())
    for path, more in ((LOGIN, {}), (REAUTH, {}), (PASSKEYS, {"name": "x"}), (LOGIN, {"ticket": "s1.x"})):
        answer = await post(service, path, {"credential": credential, **more}, **headers)

        assert (answer.status_code, answer.json()["field"]) == (status, field), path
        assert len(answer.text) < 1_000


async def test_a_passkey_is_a_second_step(service: Service, device: Authenticator) -> None:
    """Passkey and one-time passwords: the problem names both, and either goes on with the ticket."""
    app, headers = await enrolled(service)
    await added(service, device, headers)
    refused = await post(service, "/v1/login", {"user": "ada", "password": PASSWORD})
    assert refused.json()["factors"] == ["totp", "recovery", "passkey"]
    assert LOGIN in refused.json()["detail"]

    answer = await by_passkey(service, device, ticket=refused.json()["ticket"])

    assert answer.json()["session"]["amr"] == ["pwd", "hwk", "user", "mfa"]
    assert kind(await post(service, OPTIONS, {"ticket": refused.json()["ticket"]})) == (401, "not-authenticated")
    held = await ticket(service)
    spent = await shown(service, device, held)
    code = {"ticket": held, "code": await app.code(), "transport": "bearer"}
    assert (await post(service, "/v1/login/totp", code)).status_code == 200
    answer = await post(service, LOGIN, {"credential": spent, "ticket": held})
    assert kind(answer) == (401, "not-authenticated")


async def test_without_a_passkey_a_ticket_asks_for_none(service: Service, device: Authenticator) -> None:
    """404 `no-passkey`, and the ticket stays good for a code."""
    app, _ = await enrolled(service)
    held = await ticket(service)

    assert kind(await post(service, OPTIONS, {"ticket": held})) == (404, "no-passkey")
    answer = await post(service, "/v1/login/totp", {"ticket": held, "code": await app.code()})
    assert answer.status_code == 200


async def test_a_passkey_is_added_listed_renamed_and_removed(service: Service, device: Authenticator) -> None:
    """201 with the passkey, without its key; 204 for a change; and it opens nothing any more."""
    headers = await signed_up(service, device)
    headers = await strong(service, device)
    second = Authenticator(origin=ORIGIN)
    made = await added(service, second, headers, name="  the laptop ")
    passkey = made.json()
    assert set(passkey) == {"id", "name", "created_at", "last_used_at", "synced", "transports"}
    assert (passkey["name"], passkey["last_used_at"], passkey["synced"]) == ("the laptop", None, False)
    path = f"{PASSKEYS}/{passkey['id']}"

    renamed = await service.ask("PATCH", path, json={"name": "old laptop"}, headers=headers)
    listed = await service.ask("GET", PASSKEYS, headers=headers)
    removed = await service.ask("DELETE", path, headers=headers)

    assert (renamed.status_code, renamed.headers["tollhouse-durable"]) == (204, "false")
    assert [one["name"] for one in listed.json()["passkeys"]] == ["my phone", "old laptop"]
    assert (removed.status_code, removed.headers["tollhouse-durable"]) == (204, "false")
    assert kind(await by_passkey(service, second)) == REFUSED
    assert kind(await service.ask("DELETE", path, headers=headers)) == (404, "no-passkey")
    assert kind(await service.ask("PATCH", path, json={"name": "x"}, headers=headers)) == (404, "no-passkey")
    account = (await service.ask("GET", ACCOUNT, headers=headers)).json()
    assert (account["factors"]["passkeys"], account["highest_level"]) == (1, "aal2")


async def test_an_answer_that_adds_no_passkey_is_422(service: Service, device: Authenticator) -> None:
    """Of another session, or wrong; one that is there is 409, and so is one too many; what is no name is 422."""
    await signed_up(service, device)
    headers = await strong(service, device)
    asked = (await post(service, f"{PASSKEYS}/options", **headers)).json()["publicKey"]
    assert [one["id"] for one in asked["excludeCredentials"]] == [device.keys[0].id]
    other = Authenticator(origin=ORIGIN)
    body = {"credential": other.create(asked), "name": "x"}

    assert kind(await post(service, PASSKEYS, body, **await strong(service, device))) == (422, "passkey-refused")
    wrong = {"credential": other.create(asked, origin="https://evil.example"), "name": "x"}
    assert kind(await post(service, PASSKEYS, wrong, **headers)) == (422, "passkey-refused")
    nameless = await post(service, PASSKEYS, {**body, "name": " "}, **headers)
    assert (nameless.status_code, nameless.json()["field"]) == (422, "name")
    again = {"credential": device.attestation(device.keys[0], asked), "name": "x"}
    assert kind(await post(service, PASSKEYS, again, **headers)) == (409, "factor-present")
    for _ in range(19):
        await added(service, Authenticator(origin=ORIGIN), headers)
    assert kind(await post(service, f"{PASSKEYS}/options", **headers)) == (409, "passkeys-full")


async def test_the_last_way_in_stays(service: Service, device: Authenticator) -> None:
    """409 `last-factor` for the only passkey of an account without a password."""
    await signed_up(service, device)
    headers = await strong(service, device)
    store = service.tollhouse.accounts.factors._store  # pyright: ignore[reportPrivateUsage] - no route makes such one
    found = await store.load("ada")
    assert found is not None
    await store.replace(found, found.changed(password=None))

    answer = await service.ask("DELETE", f"{PASSKEYS}/{device.keys[0].id}", headers=headers)

    assert kind(answer) == (409, "last-factor")


@pytest.mark.asvs("7.5.1")
async def test_changes_take_a_recent_authentication_by_all_factors(service: Service, device: Authenticator) -> None:
    """ASVS 7.5.1: registering a passkey needs a fresh login and says so, and one of a password alone is not enough."""
    weak = await signed_up(service, device)
    headers = await strong(service, device)
    own = f"{PASSKEYS}/{device.keys[0].id}"
    asked = [("POST", f"{PASSKEYS}/options", None), ("PATCH", own, {"name": "x"}), ("DELETE", own, None)]
    for method, path, body in asked:
        answer = await service.ask(method, path, json=body, headers=weak)
        assert kind(answer) == (401, "insufficient-user-authentication"), path
        assert answer.json()["acr_values"] == ["aal2", "aal3"]
    for record in await service.records():
        created_ms = int(await service.tollhouse.stores.sessions.command("HGET", record, "c"))
        login = f"{created_ms - 2 * HOUR_MS} aal2 hwk,user,mfa "
        await service.tollhouse.stores.sessions.command("HSET", record, "au", login)

    new = {"credential": {}, "name": "x"}
    for method, path, body in [*asked, ("POST", PASSKEYS, new)]:
        answer = await service.ask(method, path, json=body, headers=headers)
        assert kind(answer) == (401, "insufficient-user-authentication"), path
        assert answer.json()["max_age_s"] == 3600
    again = await stepped_up(service, device, headers)
    await added(service, Authenticator(origin=ORIGIN), bearer(again.json()["token"]))


async def stepped_up(service: Service, device: Authenticator, headers: dict[str, str], **wrong: Any) -> httpx2.Response:
    """Authenticate the user of a session by a passkey."""
    asked = await post(service, f"{REAUTH}/options", **headers)
    assert asked.status_code == 200, asked.text
    return await post(service, REAUTH, {"credential": device.get(asked.json()["publicKey"], **wrong)}, **headers)


async def test_a_passkey_authenticates_in_a_session(service: Service, device: Authenticator) -> None:
    """The session gets another token and the second level; another session's answer, or a wrong one, is none."""
    headers = await signed_up(service, device)
    other = await service.log_in()

    wrong = await stepped_up(service, device, headers, flags=PRESENT)
    asked = (await post(service, f"{REAUTH}/options", **other)).json()["publicKey"]
    elsewhere = await post(service, REAUTH, {"credential": device.get(asked)}, **headers)
    right = await stepped_up(service, device, headers)

    assert kind(wrong) == kind(elsewhere) == REFUSED
    assert [one["id"] for one in asked["allowCredentials"]] == [device.keys[0].id]
    assert (right.status_code, right.json()["session"]["acr"]) == (200, "aal2")
    assert right.json()["session"]["amr"] == ["hwk", "user", "mfa"]
    assert (await service.ask("GET", "/v1/session", headers=headers)).status_code == 401


async def test_a_step_up_takes_a_session_and_a_passkey(service: Service, device: Authenticator) -> None:
    """401 without a session, 404 without a passkey; a page of a user who is logged in gets an answer, no redirect."""
    await service.sign_up()
    headers = await service.log_in()

    for path, body in ((f"{REAUTH}/options", None), (REAUTH, {"credential": {}})):
        assert (await post(service, path, body)).status_code == 401
        over = await post(service, path, body, **bearer("v1.00000000." + "0" * 32 + "." + "a" * 26 + "." + "A" * 43))
        assert kind(over) == (401, "not-authenticated"), path
    assert kind(await post(service, f"{REAUTH}/options", **headers)) == (404, "no-passkey")


async def test_an_impersonation_has_no_passkey_of_the_user(service: Service, device: Authenticator) -> None:
    """An administrator who acts as a user adds, renames and removes none, and steps up by none."""
    await signed_up(service, device)
    actor = await service.tollhouse.sessions.create("root", policy="admin")
    body = {"actor": "root", "actor_sid": actor.session.sid, "reason": "a call", "transport": "bearer"}
    begun = await post(service, "/v1/admin/users/ada/impersonate", body, **ADMIN)
    headers = bearer(begun.json()["token"])
    own = f"{PASSKEYS}/{device.keys[0].id}"

    for method, path, content in (
        ("POST", f"{PASSKEYS}/options", None),
        ("POST", PASSKEYS, {"credential": {}, "name": "x"}),
        ("PATCH", own, {"name": "x"}),
        ("DELETE", own, None),
        ("POST", f"{REAUTH}/options", None),
        ("POST", REAUTH, {"credential": {}}),
    ):
        answer = await service.ask(method, path, json=content, headers=headers)
        assert kind(answer) == (403, "impersonated"), path


async def test_a_change_offers_to_end_the_others(service: Service, device: Authenticator) -> None:
    """ASVS 7.4.3: with `end_others` the user's other sessions end, and the one that asked lives on."""
    await signed_up(service, device)
    headers = await strong(service, device)
    other = bearer(await service.begin())

    await added(service, Authenticator(origin=ORIGIN), headers, end_others=True)

    assert (await service.ask("GET", "/v1/session", headers=other)).status_code == 401
    other = bearer(await service.begin())
    path = f"{PASSKEYS}/{device.keys[0].id}?end_others=true"
    assert (await service.ask("DELETE", path, headers=headers)).status_code == 204
    assert (await service.ask("GET", "/v1/session", headers=other)).status_code == 401
    assert (await service.ask("GET", "/v1/session", headers=headers)).status_code == 200


async def test_a_user_without_an_account_has_no_passkeys(service: Service) -> None:
    """404 `no-account` for the user of a session that an application began; 401 without a session."""
    headers = bearer(await service.begin("guest"))

    assert kind(await service.ask("GET", PASSKEYS, headers=headers)) == (404, "no-account")
    assert kind(await post(service, f"{PASSKEYS}/options", **headers)) == (404, "no-account")
    assert (await service.ask("GET", PASSKEYS)).status_code == 401


@pytest.fixture(scope="module")
async def asking(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service whose every route asks for two factors, whose users have one session, and with a namespace."""
    policy = SessionPolicySettings(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="ask")
    sessions = SessionSettings(acr="aal2", policies={"default": policy})
    at = service_at(f"unix://{valkey_socket}", sessions=sessions, namespace="asking")
    async with embedded_world(valkey_socket), at as service:
        yield service


async def test_the_cap_asks_behind_the_passkey(asking: Service, device: Authenticator) -> None:
    """If two factors are asked for everywhere a passkey can be added after a password, and reaches them alone."""
    await asking.renew()
    headers = await signed_up(asking, device)
    assert (await asking.ask("GET", "/v1/sessions", headers=headers)).status_code == 401

    reached = await by_passkey(asking, device)

    assert kind(reached) == (409, "session-cap")
    body = {"ticket": reached.json()["ticket"], "end": [one["sid"] for one in reached.json()["sessions"]]}
    begun = await post(asking, "/v1/login/cap", {**body, "transport": "bearer"})
    listed = await asking.ask("GET", "/v1/sessions", headers=bearer(begun.json()["token"]))
    assert (begun.json()["session"]["acr"], listed.status_code) == ("aal2", 200)


async def test_namespaces_share_no_passkey(
    running: Service, asking: Service, valkey_socket: Path, device: Authenticator
) -> None:
    """Applications on one server, with one secret: a passkey and an answer of one opens nothing of the other."""
    await asking.renew()
    await signed_up(asking, device)
    credential = await shown(asking, device)

    assert kind(await post(running, LOGIN, {"credential": credential})) == REFUSED
    assert kind(await by_passkey(running, device)) == REFUSED
    assert kind(await post(asking, LOGIN, {"credential": credential})) == (409, "session-cap")


ROUTES = [
    ("POST", OPTIONS, {}),
    ("POST", LOGIN, {"credential": {}}),
    ("POST", f"{REAUTH}/options", None),
    ("POST", REAUTH, {"credential": {}}),
    ("GET", PASSKEYS, None),
    ("POST", f"{PASSKEYS}/options", None),
    ("POST", PASSKEYS, {"credential": {}, "name": "x"}),
    ("PATCH", f"{PASSKEYS}/AAAA", {"name": "x"}),
    ("DELETE", f"{PASSKEYS}/AAAA", None),
]


async def test_without_the_setting_every_route_says_so() -> None:
    """404 `passkeys-off` with the name of the setting; nothing else is different."""
    async with service_at("fake://", plain_http=False) as service:
        headers = bearer(await service.begin())
        for method, path, body in ROUTES:
            answer = await service.ask(method, path, json=body, headers=headers)
            assert kind(answer) == (404, "passkeys-off"), path
            assert answer.json()["setting"] == "accounts.passkeys.rp_id"
            assert "accounts.passkeys.rp_id" in answer.json()["detail"]


async def test_a_domain_of_the_settings_counts() -> None:
    """Passkeys are those of the domain, and pages those of its origins."""
    chosen = AccountSettings(passkeys=PasskeySettings(rp_id="example.com", origins=("https://login.example.com",)))
    async with service_at("fake://", accounts=chosen) as service:
        device = Authenticator()
        await signed_up(service, device)

        assert (await by_passkey(service, device)).status_code == 200
        wrong = await shown(service, device, origin="https://example.com")
        assert kind(await post(service, LOGIN, {"credential": wrong})) == REFUSED
