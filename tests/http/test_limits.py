"""Limits over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.http.client import ADMIN, SERVICE, Service, service_at
from tests.worlds import embedded_world
from tollhouse.settings.model import LimitSettings, PolicySettings


async def test_a_take_is_answered_with_a_decision_and_its_fields(service: Service) -> None:
    """C-1, C-4: a take that is allowed is 200 with the Decision, with the draft-11 fields of its limits."""
    response = await service.ask(
        "POST", "/v1/limits/take", json={"policy": "default", "key": "ada", "cost": 2}, headers=SERVICE
    )

    assert response.status_code == 200
    body = response.json()
    assert body["allowed"] is True
    assert (body["policy"], body["key"], body["cost"]) == ("default", "ada", 2)
    assert [limit["remaining"] for limit in body["limits"]] == [58, 998, 9998]
    assert body["retry_after_ms"] is None
    assert body["refused_by"] is None
    assert body["degraded"] is False
    assert response.headers["ratelimit-policy"].startswith('"default/60";q=60;w=60, "default/3600"')
    assert response.headers["ratelimit"].startswith('"default/60";r=58;t=')


async def test_a_refused_take_is_a_problem_with_the_same_members(service: Service) -> None:
    """A take over the limit is 429 problem details with the Decision's members and Retry-After."""
    take = {"policy": "wrong-key", "key": "ada", "cost": 10}
    await service.ask("POST", "/v1/limits/take", json=take, headers=SERVICE)

    response = await service.ask("POST", "/v1/limits/take", json=take, headers=SERVICE)

    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert 1 <= int(response.headers["retry-after"]) <= 64
    body = response.json()
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert body["status"] == 429
    assert body["violated-policies"] == ["wrong-key/60"]
    assert (body["allowed"], body["refused_by"], body["key"]) == (False, "10/minute", "ada")
    assert body["retry_after_ms"] > 0


async def test_a_cost_above_the_limit_can_never_pass(service: Service) -> None:
    """A cost above a limit is 422 `cost-above-limit` with a null wait, and charges nothing."""
    response = await service.ask(
        "POST", "/v1/limits/take", json={"policy": "wrong-key", "key": "ada", "cost": 11}, headers=SERVICE
    )

    assert response.status_code == 422
    assert response.json()["type"] == "urn:tollhouse:problem:cost-above-limit"
    assert response.json()["retry_after_ms"] is None
    assert "retry-after" not in response.headers
    peeked = await service.ask("POST", "/v1/limits/peek", json={"policy": "wrong-key", "key": "ada"}, headers=SERVICE)
    assert peeked.json()["limits"][0]["remaining"] == 10


async def test_a_batch_is_decided_one_by_one(service: Service) -> None:
    """A batch answers 200 with a Decision for each take, allowed or not."""
    takes = [
        {"policy": "wrong-key", "key": "ada", "cost": 10},
        {"policy": "wrong-key", "key": "ada"},
        {"policy": "ai", "key": "b"},
    ]

    response = await service.ask("POST", "/v1/limits/take-batch", json=takes, headers=SERVICE)

    assert response.status_code == 200
    assert [decision["allowed"] for decision in response.json()] == [True, False, True]


async def test_peek_changes_nothing_and_reset_forgets(service: Service) -> None:
    """Peek returns the decision of a take without taking; reset deletes the counters and says if there were any."""
    subject = {"policy": "wrong-key", "key": "ada"}
    await service.ask("POST", "/v1/limits/take", json={**subject, "cost": 10}, headers=SERVICE)

    peeked = [await service.ask("POST", "/v1/limits/peek", json=subject, headers=SERVICE) for _ in range(2)]
    resets = [await service.ask("POST", "/v1/limits/reset", json=subject, headers=SERVICE) for _ in range(2)]
    again = await service.ask("POST", "/v1/limits/take", json=subject, headers=SERVICE)

    assert [response.json()["allowed"] for response in peeked] == [False, False]
    assert [response.json() for response in resets] == [{"reset": True}, {"reset": False}]
    assert again.status_code == 200


async def test_policies_are_listed(service: Service) -> None:
    """GET /v1/limits lists the built-in policies with their limits."""
    response = await service.ask("GET", "/v1/limits", headers=SERVICE)

    named = {policy["name"]: policy for policy in response.json()["policies"]}
    assert {"default", "session", "ai", "wrong-key", "signup"} == set(named)
    assert named["wrong-key"]["limits"][0] == {"units": 10, "window_ms": 60_000, "resolution": 16, "burst": None}


async def test_an_unknown_policy_names_the_nearest(service: Service) -> None:
    """A policy that does not exist is 422 `unknown-policy`, with field, value and a suggestion."""
    response = await service.ask("POST", "/v1/limits/take", json={"policy": "sigup", "key": "ada"}, headers=SERVICE)

    body = response.json()
    assert response.status_code == 422
    assert body["type"] == "urn:tollhouse:problem:unknown-policy"
    assert (body["field"], body["value"]) == ("policy", "sigup")
    assert "did you mean 'signup'" in body["remedy"]


async def test_limits_need_a_service_key(service: Service) -> None:
    """Without a key 401 with WWW-Authenticate; with a session 403; an admin key may do what a service key may."""
    await service.sign_up()
    session = await service.log_in()
    take = {"policy": "default", "key": "x"}

    nobody = await service.ask("POST", "/v1/limits/take", json=take)
    wrong = await service.ask("POST", "/v1/limits/take", json=take, headers={"X-Api-Key": "a-guess-at-a-key"})
    user = await service.ask("POST", "/v1/limits/take", json=take, headers=session)
    admin = await service.ask("POST", "/v1/limits/take", json=take, headers=ADMIN)

    assert [nobody.status_code, wrong.status_code, user.status_code, admin.status_code] == [401, 401, 403, 200]
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert nobody.json()["type"] == "urn:tollhouse:problem:not-authenticated"
    assert user.json()["type"] == "urn:tollhouse:problem:not-allowed"


async def test_policies_of_the_settings_hold(valkey_socket: Path) -> None:
    """A policy in the settings can be named at once, and 200 concurrent takes on 100 units admit exactly 100."""
    policies = LimitSettings(policies={"api": PolicySettings(limit="100/hour")})
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", limits=policies) as service:
        take = {"policy": "api", "key": "x"}
        answers = await asyncio.gather(
            *(service.ask("POST", "/v1/limits/take", json=take, headers=SERVICE) for _ in range(200))
        )

    assert sum(answer.status_code == 200 for answer in answers) == 100
    assert sum(answer.status_code == 429 for answer in answers) == 100
