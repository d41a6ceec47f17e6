"""The setting `limits.headers` holds for every route of the service that tells of limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from tests.http.client import SERVICE, Service, service_at
from tests.worlds import embedded_world
from tollhouse.settings.model import LimitSettings, PolicySettings

#   fields of an admitted take by dialect
FIELDS = {
    "draft-11": {"ratelimit-policy", "ratelimit"},
    "draft-06": {"ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"},
    "x-ratelimit": {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"},
    "off": set[str](),
}
TIGHT = {name: PolicySettings(limit="1/minute") for name in ("session", "ai", "api", "signup")}


def rate_limit_fields(response: httpx2.Response) -> set[str]:
    return {name for name in response.headers if "ratelimit" in name}


async def answers(service: Service) -> Mapping[str, httpx2.Response]:
    """Ask each kind of route until it refuses; give the first and the last answer of each."""
    await service.sign_up()
    session = await service.log_in()
    another = {"user": "eve", "password": "otters juggle nine plums"}
    question = {"input": "hello there"}
    take = {"policy": "api", "key": "x"}
    return {
        "a session": await service.ask("GET", "/v1/session", headers=session),
        "a session too often": await service.ask("GET", "/v1/session", headers=session),
        "a model": await service.ask("POST", "/v1/ai/langid", json=question, headers=SERVICE),
        "a model too often": await service.ask("POST", "/v1/ai/langid", json=question, headers=SERVICE),
        "a take": await service.ask("POST", "/v1/limits/take", json=take, headers=SERVICE),
        "a take too often": await service.ask("POST", "/v1/limits/take", json=take, headers=SERVICE),
        "a sign-up too often": await service.ask("POST", "/v1/accounts", json=another),
    }


@pytest.mark.parametrize("dialect", FIELDS)
async def test_every_route_tells_of_limits_in_the_dialect_of_the_settings(valkey_socket: Path, dialect: str) -> None:
    """Sessions, AI results, sign-ups and takes carry the fields of the chosen dialect alone; off means none."""
    limits = LimitSettings(headers=dialect, policies=TIGHT)  # type: ignore[arg-type] - one of the literals
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", limits=limits) as service:
        found = await answers(service)

    assert {name: response.status_code for name, response in found.items() if "too often" in name} == dict.fromkeys(
        [name for name in found if "too often" in name], 429
    )
    for name, response in found.items():
        assert rate_limit_fields(response) == FIELDS[dialect], name
        assert ("retry-after" in response.headers) == ("too often" in name)
