"""Second factors over HTTP: how they are added and removed, and that no way in leaves them out."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from tests.http.client import ADMIN, PASSWORD, Service, bearer, cookie, service_at
from tests.worlds import embedded_world
from tollhouse.accounts.factors.totp import otp, step_at
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.sessions import SessionPolicySettings, SessionSettings
from tollhouse.settings.totp import TotpSettings

LOGIN, BY_TOTP, BY_RECOVERY, REAUTH = "/v1/login", "/v1/login/totp", "/v1/login/recovery", "/v1/session/reauth"
ACCOUNT, TOTP, CONFIRM, CODES = (
    "/v1/account",
    "/v1/account/totp",
    "/v1/account/totp/confirm",
    "/v1/account/recovery-codes",
)
TYPE = "urn:tollhouse:problem:"
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
async def lenient(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service that takes the code of before, too: a test on a busy machine may cross from one step to the next."""
    accounts = AccountSettings(totp=TotpSettings(window=1))
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", accounts=accounts) as service:
        yield service


@pytest.fixture
async def service(lenient: Service) -> Service:
    await lenient.renew()
    return lenient


class App:
    """A user's app for one-time passwords, whose every code is of another step, as if half a minute went by."""

    def __init__(self, service: Service, secret: str) -> None:
        self.service = service
        self.seed = base64.b32decode(secret)

    async def code(self) -> str:
        """Forget that a code of now was used, and return it."""
        store = self.service.tollhouse.accounts.factors._store  # pyright: ignore[reportPrivateUsage] - no time passes
        found = await store.load("ada")
        assert found is not None
        if found.totp is not None and found.totp.confirmed:
            await store.replace(found, found.changed(totp=replace(found.totp, last_step=-1)))
        return otp(self.seed, step_at(int(time.time() * 1000)))


async def post(service: Service, path: str, body: Any = None, **headers: str) -> httpx2.Response:
    service.client.cookies.clear()
    return await service.ask("POST", path, json=body, headers=headers)


async def enrolled(service: Service) -> tuple[App, dict[str, str]]:
    """Sign up and add one-time passwords; return the app, and the headers of a session of both factors."""
    await service.sign_up()
    headers = await service.log_in()
    made = await post(service, TOTP, **headers)
    assert made.status_code == 200, made.text
    app = App(service, made.json()["secret"])
    confirmed = await post(service, CONFIRM, {"code": await app.code()}, **headers)
    assert confirmed.status_code == 200, confirmed.text
    return app, bearer((await by_totp(service, app)).json()["token"])


async def ticket(service: Service, **body: Any) -> str:
    answer = await post(service, LOGIN, {"user": "ada", "password": PASSWORD, **body})
    assert answer.status_code == 401, answer.text
    return answer.json()["ticket"]


async def by_totp(service: Service, app: App, **body: Any) -> httpx2.Response:
    held = await ticket(service, **body)
    return await post(service, BY_TOTP, {"ticket": held, "code": await app.code(), "transport": "bearer"})


def kind(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix(TYPE)


@pytest.mark.asvs("6.3.3")
async def test_a_login_takes_two_steps(service: Service) -> None:
    """ASVS 6.3.3: 401 `second-factor` with a ticket and no session; then the code, and an answer as of a login."""
    app, _ = await enrolled(service)
    service.client.cookies.clear()

    first = await service.ask("POST", LOGIN, json={"user": "ada", "password": PASSWORD, "remember": True})

    body = first.json()
    assert kind(first) == (401, "second-factor")
    assert body["factors"] == ["totp", "recovery"]
    assert body["ticket"].startswith("s1.")
    assert 290_000 < body["expires_at"] - time.time() * 1000 < 310_000
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["www-authenticate"].startswith("Bearer error=")
    assert "set-cookie" not in first.headers
    assert not [value for value in first.headers.values() if "s1." in value]
    second = await service.ask("POST", BY_TOTP, json={"ticket": body["ticket"], "code": await app.code()})
    assert second.status_code == 200
    assert (second.json()["session"]["acr"], second.json()["session"]["amr"]) == ("aal2", ["pwd", "otp", "mfa"])
    assert "Max-Age=" in second.headers["set-cookie"]
    assert "tollhouse-durable" in second.headers
    assert "token" not in second.json()


async def test_a_code_may_be_wrong(service: Service) -> None:
    """401 `wrong-code`, then the right one; a ticket that is spent, or none, is 401 `not-authenticated`."""
    app, _ = await enrolled(service)
    held = await ticket(service)
    right = await app.code()
    wrong = f"{(int(right) + 1) % 1_000_000:06}"

    answers = [await post(service, BY_TOTP, {"ticket": held, "code": code}) for code in (wrong, right, right)]

    assert [answer.status_code for answer in answers] == [401, 200, 401]
    assert kind(answers[0]) == (401, "wrong-code")
    assert kind(answers[2]) == (401, "not-authenticated")
    assert kind(await post(service, BY_TOTP, {"ticket": "s1.x", "code": right})) == (401, "not-authenticated")


@pytest.mark.parametrize("code", ["", "12345", "1234567", "١٢٣٤٥٦", "1" * 10_000, "-12345", "12345\n"])
async def test_what_no_code_can_be_is_422(service: Service, code: str) -> None:
    """The field is named, and what was sent is not repeated."""
    for path in (BY_TOTP, BY_RECOVERY):
        answer = await post(service, path, {"ticket": "s1.x", "code": code})

        assert (answer.status_code, answer.json()["field"], answer.json()["value"]) == (422, "code", "(hidden)")


async def test_codes_are_text(service: Service) -> None:
    """A number is 400: it would have lost the zeros in front."""
    answer = await post(service, BY_TOTP, {"ticket": "s1.x", "code": 12345})

    assert (answer.status_code, answer.json()["field"]) == (400, "code")


async def test_guesses_are_429(service: Service) -> None:
    """After five wrong codes a ticket is over, and further tickets give no further guesses for now."""
    app, _ = await enrolled(service)
    right = await app.code()
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    answers = []
    for _ in range(3):
        held = await ticket(service)
        answers += [await post(service, BY_TOTP, {"ticket": held, "code": wrong}) for _ in range(5)]

    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "ada" not in answers[-1].text


async def test_recovery_codes_log_in(service: Service) -> None:
    """Ten codes are shown once; each logs in once, and the account tells how many are left."""
    _, headers = await enrolled(service)
    made = await post(service, CODES, {}, **headers)
    codes = made.json()["codes"]
    assert (made.status_code, len(codes), made.headers["tollhouse-durable"]) == (200, 10, "false")

    answers = []
    for code in (codes[0], codes[0], codes[1]):
        held = await ticket(service)
        answers.append(await post(service, BY_RECOVERY, {"ticket": held, "code": code, "transport": "bearer"}))

    assert [answer.status_code for answer in answers] == [200, 401, 200]
    assert answers[0].json()["session"]["amr"] == ["pwd", "recovery", "mfa"]
    account = (await service.ask("GET", ACCOUNT, headers=bearer(answers[2].json()["token"]))).json()
    assert account["factors"] == {"password": True, "totp": True, "recovery_codes_left": 8, "passkeys": 0}
    assert (account["user"], account["highest_level"]) == ("ada", "aal2")


async def test_an_enrolment_shows_the_seed_once(service: Service) -> None:
    """200 with the seed and its URI; a wrong code is 422, and no login asks for a code before a right one."""
    await service.sign_up()
    headers = await service.log_in()

    made = await post(service, TOTP, **headers)

    app = App(service, made.json()["secret"])
    assert made.json()["uri"].startswith("otpauth://totp/Tollhouse:ada?secret=")
    wrong = f"{(int(await app.code()) + 1) % 1_000_000:06}"
    assert kind(await post(service, CONFIRM, {"code": wrong}, **headers)) == (422, "wrong-code")
    assert (await post(service, LOGIN, {"user": "ada", "password": PASSWORD})).status_code == 200
    confirmed = await post(service, CONFIRM, {"code": await app.code()}, **headers)
    assert (confirmed.status_code, confirmed.headers["tollhouse-durable"]) == (200, "false")
    assert len(confirmed.json()["codes"]) == 10
    account = await service.ask("GET", ACCOUNT, headers=headers)
    assert account.json()["factors"]["totp"] is True
    assert made.json()["secret"] not in account.text


@pytest.mark.asvs("7.5.1")
async def test_changes_of_factors_ask_for_a_recent_authentication_by_all_factors(service: Service) -> None:
    """ASVS 7.5.1: as RFC 9470 has it, for a session that is old, and for one of a password alone."""
    app, strong = await enrolled(service)
    weak = bearer(await service.begin(acr="aal1", amr=["pwd"]))
    asked = [("POST", TOTP, None), ("DELETE", TOTP, None), ("POST", CODES, {})]
    for method, path, body in asked:
        answer = await service.ask(method, path, json=body, headers=weak)
        assert kind(answer) == (401, "insufficient-user-authentication"), path
        assert answer.json()["acr_values"] == ["aal2", "aal3"]
        assert 'acr_values="aal2 aal3"' in answer.headers["www-authenticate"]
    for record in await service.records():
        created_ms = int(await service.tollhouse.stores.sessions.command("HGET", record, "c"))
        login = f"{created_ms - 2 * HOUR_MS} aal2 pwd,otp,mfa "
        await service.tollhouse.stores.sessions.command("HSET", record, "au", login)

    for method, path, body in [*asked, ("POST", CONFIRM, {"code": "123456"})]:
        answer = await service.ask(method, path, json=body, headers=strong)
        assert kind(answer) == (401, "insufficient-user-authentication"), path
        assert answer.json()["max_age_s"] == 3600
    again = await post(service, REAUTH, {"password": PASSWORD, "code": await app.code()}, **strong)
    assert again.status_code == 200
    assert (await post(service, CODES, {}, **bearer(again.json()["token"]))).status_code == 200


async def test_a_removed_factor_is_not_asked_for_any_more(service: Service) -> None:
    """DELETE, and the password is enough; what is not there is 409, and so is what is there already."""
    _, headers = await enrolled(service)
    assert kind(await post(service, TOTP, **headers)) == (409, "factor-present")

    removed = await service.ask("DELETE", TOTP, headers=headers)

    assert (removed.status_code, removed.headers["tollhouse-durable"]) == (204, "false")
    login = await post(service, LOGIN, {"user": "ada", "password": PASSWORD})
    assert (login.status_code, login.json()["session"]["acr"]) == (200, "aal1")
    assert kind(await service.ask("DELETE", TOTP, headers=headers)) == (409, "factor-missing")
    assert kind(await post(service, CODES, {}, **headers)) == (409, "factor-missing")


@pytest.mark.asvs("7.5.1")
async def test_an_account_with_a_second_factor_changes_by_both(service: Service) -> None:
    """A new password and the end of the account ask a session of a password alone for the level of a login."""
    _, strong = await enrolled(service)
    weak = bearer(await service.begin(acr="aal1", amr=["pwd"]))
    asked = [
        ("POST", "/v1/password", {"password": PASSWORD, "new_password": "canyon lamp brisk orbit"}),
        ("DELETE", ACCOUNT, {"password": PASSWORD}),
    ]
    for method, path, body in asked:
        refused = await service.ask(method, path, json=body, headers=weak)
        assert kind(refused) == (401, "insufficient-user-authentication"), path
        assert refused.json()["acr_values"] == ["aal2", "aal3"]

    for_good = await service.ask("DELETE", ACCOUNT, json={"password": PASSWORD}, headers=strong)

    assert for_good.status_code == 200, for_good.text


@pytest.mark.asvs("7.4.3")
async def test_a_change_of_factors_offers_to_end_the_others(service: Service) -> None:
    """ASVS 7.4.3: with `end_others` the user's other sessions end, and the one that asked lives on."""
    app, headers = await enrolled(service)
    other = bearer((await by_totp(service, app)).json()["token"])
    assert (await post(service, CODES, {"end_others": False}, **headers)).status_code == 200
    assert (await service.ask("GET", "/v1/session", headers=other)).status_code == 200

    for method, path, body in (("POST", CODES, {"end_others": True}), ("DELETE", f"{TOTP}?end_others=true", None)):
        other = bearer(await service.begin())
        changed = await service.ask(method, path, json=body, headers=headers)
        assert changed.status_code in (200, 204), changed.text
        assert (await service.ask("GET", "/v1/session", headers=headers)).status_code == 200
        assert (await service.ask("GET", "/v1/session", headers=other)).status_code == 401


@pytest.mark.asvs("6.3.4")
async def test_a_reauthentication_takes_what_a_login_takes(service: Service) -> None:
    """It opens for a user who is logged in: `second-factor` for the password alone, then both; 401, no redirect."""
    app, headers = await enrolled(service)

    alone = await post(service, REAUTH, {"password": PASSWORD}, **headers)
    both = await post(service, REAUTH, {"password": PASSWORD, "code": await app.code()}, **headers)

    assert kind(alone) == (401, "second-factor")
    assert alone.json()["factors"] == ["totp"]
    assert "ticket" not in alone.json()
    assert (both.status_code, both.json()["session"]["acr"]) == (200, "aal2")
    token = both.json()["token"]
    by_code = await post(service, REAUTH, {"code": await app.code()}, **bearer(token))
    assert (by_code.status_code, by_code.json()["session"]["amr"]) == (200, ["otp", "mfa"])
    again = await post(service, REAUTH, {"code": await app.code()}, **bearer(by_code.json()["token"]))
    assert kind(again) == (401, "password-required")
    nothing = await post(service, REAUTH, {}, **bearer(by_code.json()["token"]))
    assert (nothing.status_code, nothing.json()["field"]) == (422, "password")


async def test_a_wrong_code_of_a_reauthentication_is_no_wrong_password(service: Service) -> None:
    """Each is named, so that a page marks the field."""
    app, headers = await enrolled(service)
    wrong = f"{(int(await app.code()) + 1) % 1_000_000:06}"

    assert kind(await post(service, REAUTH, {"password": PASSWORD, "code": wrong}, **headers)) == (401, "wrong-code")
    answer = await post(service, REAUTH, {"password": PASSWORD + "x", "code": wrong}, **headers)
    assert kind(answer) == (401, "wrong-password")


@pytest.mark.asvs("6.3.4")
async def test_an_impersonation_changes_no_factor(service: Service) -> None:
    """An administrator who acts as a user adds and removes none, and gets past none."""
    app, _ = await enrolled(service)
    actor = await service.tollhouse.sessions.create("root", policy="admin")
    body = {"actor": "root", "actor_sid": actor.session.sid, "reason": "a call", "transport": "bearer"}
    begun = await post(service, "/v1/admin/users/ada/impersonate", body, **ADMIN)
    headers = bearer(begun.json()["token"])

    for method, path, content in (("POST", TOTP, None), ("DELETE", TOTP, None), ("POST", CODES, {})):
        answer = await service.ask(method, path, json=content, headers=headers)
        assert kind(answer) == (403, "impersonated"), path
    assert (await post(service, REAUTH, {"code": await app.code()}, **headers)).status_code == 403


async def test_a_user_without_an_account_has_no_factors(service: Service) -> None:
    """404 `no-account` for the user of a session that an application began."""
    headers = bearer(await service.begin("guest"))

    assert kind(await service.ask("GET", ACCOUNT, headers=headers)) == (404, "no-account")
    assert kind(await post(service, TOTP, **headers)) == (404, "no-account")
    assert (await service.ask("GET", ACCOUNT)).status_code == 401


@pytest.mark.asvs("6.3.4")
async def test_a_remembered_device_is_no_second_factor(service: Service) -> None:
    """A browser with a live session, and one that was remembered, is asked all the same."""
    app, _ = await enrolled(service)
    token = (await by_totp(service, app, remember=True)).json()["token"]

    service.client.cookies.clear()
    body = {"user": "ada", "password": PASSWORD, "remember": True}
    answer = await service.ask("POST", LOGIN, json=body, headers=cookie(token))

    assert kind(answer) == (401, "second-factor")
    assert (await service.ask("GET", "/v1/session", headers=bearer(token))).status_code == 200


@pytest.fixture(scope="module")
async def asking(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service whose every route asks for two factors, and whose users have one session, and are asked."""
    policy = SessionPolicySettings(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="ask")
    sessions = SessionSettings(acr="aal2", policies={"default": policy})
    accounts = AccountSettings(totp=TotpSettings(window=1))
    at = service_at(f"unix://{valkey_socket}", sessions=sessions, accounts=accounts)
    async with embedded_world(valkey_socket), at as service:
        yield service


@pytest.mark.asvs("6.3.4")
async def test_the_cap_asks_behind_the_second_factor(asking: Service) -> None:
    """A password alone shows no devices and gets no ticket that ends them; a first factor can be added."""
    await asking.renew()
    await asking.sign_up()
    headers = await asking.log_in()
    assert (await asking.ask("GET", "/v1/sessions", headers=headers)).status_code == 401
    app = App(asking, (await post(asking, TOTP, **headers)).json()["secret"])
    assert (await post(asking, CONFIRM, {"code": await app.code()}, **headers)).status_code == 200

    reached = await by_totp(asking, app)

    assert kind(reached) == (409, "session-cap")
    sids = [device["sid"] for device in reached.json()["sessions"]]
    body = {"ticket": reached.json()["ticket"], "end": sids, "transport": "bearer"}
    begun = await post(asking, "/v1/login/cap", body)
    assert begun.json()["session"]["acr"] == "aal2"
    listed = await asking.ask("GET", "/v1/sessions", headers=bearer(begun.json()["token"]))
    assert listed.status_code == 200
