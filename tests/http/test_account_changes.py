"""Changes of accounts over HTTP: passwords, forgotten ones, and the end of accounts."""

from __future__ import annotations

import base64
import time

import pytest

from tests.http.client import ADMIN, PASSWORD, SERVICE, Service, bearer, cookie
from tollhouse.accounts.factors.totp import otp, step_at

NEW = "canyon lamp brisk orbit"


def token_in(headers: dict[str, str]) -> str:
    return headers["Authorization"][7:]


async def logs_in(service: Service, password: str) -> bool:
    body = {"user": "ada", "password": password, "transport": "bearer"}
    return (await service.ask("POST", "/v1/login", json=body)).status_code == 200


@pytest.mark.parametrize("by_cookie", [True, False])
async def test_a_password_is_changed_by_its_user(service: Service, by_cookie: bool) -> None:
    """The answer has another token, as the request had one; the other sessions are over."""
    await service.sign_up()
    own, other = token_in(await service.log_in()), await service.log_in()
    headers = cookie(own) if by_cookie else bearer(own)
    body = {"password": PASSWORD, "new_password": NEW}

    wrong = await service.ask("POST", "/v1/password", headers=headers, json={**body, "password": NEW})
    weak = await service.ask(
        "POST", "/v1/password", headers=headers, json={**body, "new_password": "Summer2026Summer2026"}
    )
    answer = await service.ask("POST", "/v1/password", headers=headers, json=body)

    assert (wrong.status_code, wrong.json()["type"].rpartition(":")[2]) == (401, "wrong-password")
    assert (weak.status_code, answer.status_code) == (422, 200)
    assert ("set-cookie" in answer.headers, "token" in answer.json()) == (by_cookie, not by_cookie)
    assert "tollhouse-durable" in answer.headers
    service.client.cookies.clear()
    assert (await service.ask("GET", "/v1/session", headers=other)).status_code == 401
    assert await logs_in(service, NEW)
    assert (await service.ask("POST", "/v1/password", json=body)).status_code == 401


async def test_guesses_at_a_change_are_throttled(service: Service) -> None:
    """A session has ten wrong passwords, and then those of any client; the answer has no name in it."""
    await service.sign_up()
    own = await service.log_in()
    body = {"password": NEW, "new_password": PASSWORD}

    answers = [await service.ask("POST", "/v1/password", headers=own, json=body) for _ in range(16)]
    deletion = await service.ask("DELETE", "/v1/account", headers=own, json={"password": NEW})

    assert [answer.status_code for answer in answers] == [401] * 15 + [429]
    assert "ada" not in answers[15].text
    assert deletion.status_code == 429


@pytest.mark.asvs("6.4.6")
async def test_a_forgotten_password_is_reset_by_a_mailed_token(service: Service) -> None:
    """A service gets the token, for any name; a new password takes it once, and no session begins by it.

    An administrator cannot choose the password: no route but this and that of its user sets one.
    """
    await service.sign_up()
    own = await service.log_in()
    asked = await service.ask("POST", "/v1/accounts/reset-token", headers=SERVICE, json={"user": "Ada"})
    unknown = await service.ask("POST", "/v1/accounts/reset-token", headers=SERVICE, json={"user": "nobody"})
    body = {"user": "ada", "token": asked.json()["token"], "password": NEW}

    answers = [await service.ask("POST", "/v1/password/reset", json=body) for _ in range(2)]

    assert asked.json().keys() == unknown.json().keys() == {"token", "expires_at"}
    assert [answer.status_code for answer in answers] == [200, 403]
    assert answers[1].json()["type"].endswith("wrong-reset-token")
    assert "set-cookie" not in answers[0].headers
    assert (await service.ask("GET", "/v1/session", headers=own)).status_code == 401
    assert await logs_in(service, NEW)
    assert (await service.ask("POST", "/v1/accounts/reset-token", json={"user": "ada"})).status_code == 401


async def test_users_delete_their_account(service: Service) -> None:
    """It takes the password, and ends all sessions; the browser drops what it has of them."""
    await service.sign_up()
    own = await service.log_in()

    wrong = await service.ask("DELETE", "/v1/account", headers=own, json={"password": NEW})
    answer = await service.ask("DELETE", "/v1/account", headers=own, json={"password": PASSWORD})

    assert (wrong.status_code, answer.status_code) == (401, 200)
    assert "clear-site-data" in answer.headers
    assert (await service.ask("GET", "/v1/session", headers=own)).status_code == 401
    assert not await logs_in(service, PASSWORD)


async def test_administrators_see_disable_and_delete_accounts(service: Service) -> None:
    """A disabled user cannot log in, until enabled; a deleted one has no account: 404."""
    await service.sign_up()
    users = "/v1/admin/users/ada"

    shown = await service.ask("GET", f"{users}/account", headers=ADMIN)
    await service.ask("POST", f"{users}/disable", headers=ADMIN)
    closed, disabled = not await logs_in(service, PASSWORD), await service.ask("GET", f"{users}/account", headers=ADMIN)
    await service.ask("POST", f"{users}/enable", headers=ADMIN)
    opened = await logs_in(service, PASSWORD)
    deleted = [await service.ask("DELETE", f"{users}/account", headers=ADMIN) for _ in range(2)]

    assert shown.json().keys() == {"user", "created_at", "password_changed_at", "has_password", "disabled"}
    assert (closed, disabled.json()["disabled"], opened) == (True, True, True)
    assert [answer.status_code for answer in deleted] == [204, 404]
    assert (await service.ask("GET", f"{users}/account", headers=ADMIN)).status_code == 404
    assert (await service.ask("GET", f"{users}/account", headers=SERVICE)).status_code == 403


async def test_an_administrator_removes_lost_factors(service: Service) -> None:
    """The login takes one step again; the sessions are over, and 404 is who has no account."""
    await service.sign_up()
    own = await service.log_in()
    seed = (await service.ask("POST", "/v1/account/totp", headers=own)).json()["secret"]
    code = otp(base64.b32decode(seed), step_at(int(time.time() * 1000)))
    confirmed = await service.ask("POST", "/v1/account/totp/confirm", headers=own, json={"code": code})
    assert confirmed.status_code == 200
    assert not await logs_in(service, PASSWORD)

    answer = await service.ask("DELETE", "/v1/admin/users/Ada/factors", headers=ADMIN)
    unknown = await service.ask("DELETE", "/v1/admin/users/eve/factors", headers=ADMIN)
    refused = await service.ask("DELETE", "/v1/admin/users/ada/factors", headers=SERVICE)

    body = answer.json()
    assert (body["user"], body["totp"], body["recovery_codes"], body["removed"]) == ("ada", True, 10, 1)
    assert "tollhouse-durable" in answer.headers
    assert (answer.status_code, unknown.status_code, refused.status_code) == (200, 404, 403)
    assert (await service.ask("GET", "/v1/session", headers=own)).status_code == 401
    assert await logs_in(service, PASSWORD)
