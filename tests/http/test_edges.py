"""The edges of the service: problems, bounds, health, and what happens when the stores are gone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.http.client import ADMIN, PASSWORD, SERVICE, Service, service_at
from tests.processes import gone_within
from tollhouse.stores.embedded.server import EmbeddedServer

TAKE = {"policy": "default", "key": "x"}


@asynccontextmanager
async def service_without_stores(**changes: Any) -> AsyncGenerator[tuple[Service, dict[str, str]]]:
    """A service with a user who logged in before the stores died."""
    server = EmbeddedServer.start()
    async with service_at(server.url, **changes) as service:
        await service.sign_up()
        session = await service.log_in()
        info = await service.tollhouse.stores.limits.info("server")
        pid = int(info["process_id"])
        os.kill(pid, signal.SIGKILL)
        assert gone_within({pid})
        yield service, session
    server.stop()


#   method, path, status, kind
LOST = [
    ("GET", "/nowhere", 404, "not-found"),
    ("GET", "/v1/limits/take", 405, "method-not-allowed"),
    ("PUT", "/v1/login", 405, "method-not-allowed"),
]


@pytest.mark.parametrize(("method", "path", "status", "kind"), LOST)
async def test_what_does_not_exist_is_a_problem_too(
    service: Service, method: str, path: str, status: int, kind: str
) -> None:
    """RFC 9457: paths and methods that do not exist are problem details with a stable type."""
    response = await service.ask(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"urn:tollhouse:problem:{kind}"
    assert response.json()["status"] == status


@pytest.mark.parametrize("path", ["/livez?verbos", "/v1/session?a=1", "/v1/ai/langid?use_cahce=false"])
async def test_an_unknown_query_parameter_is_refused(service: Service, path: str) -> None:
    """A misspelt query parameter is 400 and named, never ignored."""
    method = "POST" if "/ai/" in path else "GET"
    headers = SERVICE if "session" not in path else {}
    if "session" in path:
        await service.sign_up()
        headers = await service.log_in()

    response = await service.ask(method, path, headers=headers, json={"input": "x"} if method == "POST" else None)

    assert response.status_code == 400
    name = path.partition("?")[2].partition("=")[0]
    assert response.json()["field"] == name
    assert name in response.json()["detail"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'{"policy": "default", "key": "x", "cost": 1.5}', b""])
async def test_a_body_that_cannot_be_read_is_400(service: Service, body: bytes) -> None:
    """A body that is not JSON, or JSON of another shape, is 400 problem details with the field."""
    response = await service.ask(
        "POST", "/v1/limits/take", content=body, headers={**SERVICE, "Content-Type": "application/json"}
    )

    assert response.status_code == 400
    assert response.json()["type"] == "urn:tollhouse:problem:invalid-request"
    assert response.json()["field"]


async def test_a_body_above_its_bound_is_413(service: Service) -> None:
    """A body above body_bytes is 413 problem details, with or without Content-Length."""
    body = json.dumps({"policy": "default", "key": "x" * 1_100_000}).encode()

    async def chunks() -> AsyncGenerator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {**SERVICE, "Content-Type": "application/json"}
    told = await service.ask("POST", "/v1/limits/take", content=body, headers=headers)
    untold = await service.ask("POST", "/v1/limits/take", content=chunks(), headers=headers)

    for response in (told, untold):
        assert response.status_code == 413
        assert response.json()["type"] == "urn:tollhouse:problem:body-too-large"


async def test_health_says_connected(service: Service) -> None:
    """S1-27, S1-49: readiness and health are 200 with `"cache": "connected"`, liveness calls no store."""
    for path in ("/readyz", "/healthz"):
        response = await service.ask("GET", path)
        assert response.status_code == 200
        assert response.json() == {
            "status": "ok",
            "sessions": "connected",
            "limits": "connected",
            "cache": "connected",
            "accounts": "connected",
        }
    assert (await service.ask("GET", "/livez")).json() == {"status": "ok"}


async def test_metrics_tell_what_was_decided(own_service: Service) -> None:
    """S3-21: decisions, sessions, cache results and the state of the stores are Prometheus metrics."""
    await own_service.sign_up()
    await own_service.log_in()
    await own_service.ask("POST", "/v1/limits/take", json=TAKE, headers=SERVICE)
    await own_service.ask("POST", "/v1/ai/langid", json={"input": "hello there"}, headers=SERVICE)

    text = (await own_service.ask("GET", "/metrics")).text

    assert 'tollhouse_ratelimit_decisions_total{outcome="allowed",policy="default"} 1.0' in text
    assert 'tollhouse_logins_total{outcome="ok"} 1.0' in text
    assert 'tollhouse_cache_requests_total{cache="ai:langid",result="miss"} 1.0' in text
    assert 'tollhouse_store_up{store="sessions"} 1.0' in text


async def test_the_schema_names_every_route_and_loads_nothing(service: Service) -> None:
    """/schema is the OpenAPI document itself: no page, no script of another host."""
    response = await service.ask("GET", "/schema")

    paths = response.json()["paths"]
    assert {"/v1/limits/take", "/v1/login", "/v1/session", "/v1/ai/{model}", "/v1/cache/stats"} <= set(paths)
    assert "<script" not in response.text


async def test_an_outage_of_the_accounts_charges_no_login_and_no_sign_up(tmp_path: Path) -> None:
    """However often a client tries, the answer is 503 and never 429, and the limits have counted nothing."""
    body = {"user": "ada", "password": PASSWORD}
    async with service_at("fake://", accounts_url=f"unix://{tmp_path}/none.sock") as service:
        logins = [await service.ask("POST", "/v1/login", json=body) for _ in range(8)]
        sign_ups = [await service.ask("POST", "/v1/accounts", json=body) for _ in range(25)]
        counted = await service.tollhouse.stores.limits.command("KEYS", "tollhouse:rate:*")

    assert {response.status_code for response in (*logins, *sign_ups)} == {503}
    assert [key for key in counted if not key.endswith(b"{probe}")] == []


async def test_without_stores_nothing_is_500_and_nobody_is_401(caplog: pytest.LogCaptureFixture) -> None:
    """P8, S1-48: sessions and logins are 503 with Retry-After; takes follow their outage policy, here `local`."""
    async with service_without_stores() as (service, session):
        take = await service.ask("POST", "/v1/limits/take", json=TAKE, headers=SERVICE)
        who = await service.ask("GET", "/v1/session", headers=session)
        login = await service.ask("POST", "/v1/login", json={"user": "ada", "password": "some password"})
        stats = await service.ask("GET", "/v1/cache/stats", headers=ADMIN)
        ready = await service.ask("GET", "/readyz")
        alive = await service.ask("GET", "/livez")
        text = (await service.ask("GET", "/metrics")).text

    assert (take.status_code, take.json()["degraded"]) == (200, True)
    for response in (who, login):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"
        kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        assert response.json()["type"] == kind
        assert response.json()["outcome"] in ("not-sent", "ambiguous")  # the first call meets the dead connection
    assert stats.json()["available"] is False
    assert (ready.status_code, ready.json()["cache"]) == (503, "disconnected")
    assert alive.status_code == 200
    assert 'tollhouse_store_up{store="limits"} 0.0' in text
    assert session["Authorization"][7:] not in caplog.text


async def test_a_body_that_is_no_text_is_400(service: Service) -> None:
    """Bytes in a JSON text that are not UTF-8 are the client's mistake, and named as one."""
    headers = {**SERVICE, "Content-Type": "application/json"}

    response = await service.ask("POST", "/v1/limits/take", content=b'{"policy": "\xff", "key": "x"}', headers=headers)

    assert (response.status_code, response.json()["remedy"]) == (400, "send UTF-8")


BODIES = [("/v1/login", {}), ("/v1/accounts", {}), ("/v1/ai/langid", SERVICE)]
VERBS = ["take", "take-batch", "take-all", "take-up-to", "acquire", "peek", "refund", "reset"]
HOLDS = ["reserve", "settle", "lease", "renew", "release"]


@pytest.mark.parametrize(("path", "headers"), [*BODIES, *((f"/v1/limits/{verb}", SERVICE) for verb in VERBS + HOLDS)])
async def test_a_body_that_is_nested_deeply_is_the_clients_mistake(
    service: Service, path: str, headers: dict[str, str]
) -> None:
    """However deep a body nests, on every route, it is named as wrong and never a failure of the service."""
    bodies = [opening * depth for opening in (b"[", b'{"a":', b'{"policy":[') for depth in (65, 990, 20_000)]
    given = {**headers, "Content-Type": "application/json"}

    answers = [await service.ask("POST", path, content=body, headers=given) for body in bodies]

    assert {answer.status_code for answer in answers} <= {400, 422}
    assert all(answer.json()["field"] in ("body", "input", "policy") for answer in answers)


async def test_a_model_answers_while_only_the_cache_is_gone(valkey_socket: object) -> None:
    """S0-05, S0-18, S1-48: a lost cache is BYPASS for results and 200 `degraded` for readiness."""
    async with service_at(f"unix://{valkey_socket}", cache_url="unix:///nowhere/at/all.sock") as service:
        answer = await service.ask("POST", "/v1/ai/langid", json={"input": "hello there"}, headers=SERVICE)
        ready = await service.ask("GET", "/readyz")

    assert (answer.status_code, answer.headers["x-cache"]) == (200, "BYPASS")
    assert (ready.status_code, ready.json()["status"], ready.json()["cache"]) == (200, "degraded", "disconnected")
