"""Ends of sessions over HTTP: a client learns why, and an administrator ends all."""

from __future__ import annotations

import pytest

from tests.http.client import ADMIN, SERVICE, Service, bearer, cookie


async def test_a_client_learns_why_its_session_is_over(service: Service) -> None:
    """Its last token tells, by cookie or bearer; a live session, an unknown token and none at all learn nothing."""
    token = await service.begin()
    live = await service.ask("GET", "/v1/session/why", headers=bearer(token))
    await service.ask("POST", "/v1/logout", headers=bearer(token))

    by_bearer = await service.ask("GET", "/v1/session/why", headers=bearer(token))
    by_cookie = await service.ask("GET", "/v1/session/why", headers=cookie(token))

    assert live.status_code == 404
    assert by_bearer.json() == by_cookie.json()
    assert by_bearer.json()["reason"] == "logged-out"
    assert isinstance(by_bearer.json()["at"], int)
    other = await service.ask("GET", "/v1/session/why", headers=bearer(token[:-1] + ("A" if token[-1] != "A" else "E")))
    assert other.status_code == 404
    assert (await service.ask("GET", "/v1/session/why", headers=bearer("no-token"))).status_code == 404
    assert (await service.ask("GET", "/v1/session/why")).status_code == 401


async def test_the_refusal_of_a_session_that_is_over_names_the_way_to_its_reason(service: Service) -> None:
    """A client that sent a token is not asked to send one; without any it is."""
    token = await service.begin()
    await service.ask("POST", "/v1/logout", headers=bearer(token))

    over = await service.ask("GET", "/v1/session", headers=bearer(token))
    none = await service.ask("GET", "/v1/session")

    assert (over.status_code, none.status_code) == (401, 401)
    assert "/v1/session/why" in over.json()["detail"]
    assert "/v1/session/why" not in none.json()["detail"]


@pytest.mark.asvs("7.4.5")
async def test_an_administrator_ends_all_sessions_of_all_users(service: Service) -> None:
    """It says whether that is durable; an ordinary key may not."""
    tokens = [await service.begin(user) for user in ("ada", "eve")]

    assert (await service.ask("POST", "/v1/admin/logout-everyone")).status_code == 401
    assert (await service.ask("POST", "/v1/admin/logout-everyone", headers=SERVICE)).status_code == 403
    assert (await service.ask("POST", "/v1/admin/logout-everyone", headers=bearer(tokens[0]))).status_code == 403
    done = await service.ask("POST", "/v1/admin/logout-everyone", headers=ADMIN)

    assert done.status_code == 204
    assert done.headers["tollhouse-durable"] in ("true", "false")
    for token in tokens:
        assert (await service.ask("GET", "/v1/session", headers=bearer(token))).status_code == 401
        why = await service.ask("GET", "/v1/session/why", headers=bearer(token))
        assert why.json()["reason"] == "everyone"
    later = await service.begin()
    assert (await service.ask("GET", "/v1/session", headers=bearer(later))).status_code == 200
