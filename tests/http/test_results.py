"""AI results and cache management over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.http.client import ADMIN, SERVICE, Service, service_at
from tests.worlds import embedded_world
from tollhouse.settings.model import CacheSettings

QUESTION = {"input": "Der schnelle braune Fuchs springt über den faulen Hund."}


async def test_the_second_answer_is_a_hit(service: Service) -> None:
    """S0-03, S1-45, S1-46, S2-18: the same input is a MISS, then a HIT with an Age, and both outputs are equal."""
    first = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)
    second = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert first.status_code == second.status_code == 200
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert first.json() == second.json()
    assert first.json()["model"] == "langid"
    assert first.json()["output"]["language"] == "de"
    assert 0.9 < first.json()["output"]["probability"] <= 1
    assert first.headers["cache-status"] == "tollhouse; fwd=uri-miss; stored"
    assert second.headers["cache-status"].startswith("tollhouse; hit; ttl=")
    assert second.headers["age"] == "0"
    assert "age" not in first.headers


async def test_a_caller_can_pass_the_cache_by(service: Service) -> None:
    """S4-19, S4-49: `?use_cache=false` runs the model, stores nothing, and X-Cache is BYPASS."""
    passed = await service.ask("POST", "/v1/ai/langid?use_cache=false", json=QUESTION, headers=SERVICE)
    after = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert (passed.headers["x-cache"], after.headers["x-cache"]) == ("BYPASS", "MISS")
    assert passed.headers["cache-status"] == "tollhouse; fwd=bypass"


async def test_a_disabled_cache_is_reported(valkey_socket: Path) -> None:
    """S1-26, S1-39: with CACHE_ENABLED=false every answer is computed, and X-Cache is DISABLED."""
    off = CacheSettings(enabled=False)
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}", cache=off) as service:
        response = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert response.status_code == 200
    assert response.headers["x-cache"] == "DISABLED"


async def test_results_need_a_key_or_a_session(service: Service) -> None:
    """A session or a service may use a model; an anonymous client may not."""
    await service.sign_up()

    anonymous = await service.ask("POST", "/v1/ai/langid", json=QUESTION)
    user = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=await service.log_in())

    assert (anonymous.status_code, user.status_code) == (401, 200)
    assert "ratelimit" in user.headers


#   path, body, status, words of the answer
BAD_ASKS = [
    ("langit", QUESTION, 422, "did you mean 'langid'"),
    ("langid", {"input": 7}, 422, "input"),
    ("langid", {"inputs": "x"}, 400, "did you mean 'input'?"),
    ("langid", {"input": None}, 422, "input: null: send a text"),
    ("langid", {"input": True}, 422, "input: true: send a text"),
    ("langid", {"input": [None]}, 422, "input: [null]: send a text"),
    ("langid", {}, 400, "input"),
    ("langid", [], 400, "input"),
]


@pytest.mark.parametrize(("model", "body", "status", "words"), BAD_ASKS)
async def test_a_bad_request_names_what_is_wrong(
    service: Service, model: str, body: dict[str, object], status: int, words: str
) -> None:
    """An unknown model, or an input that the model does not accept, is a problem with a remedy."""
    response = await service.ask("POST", f"/v1/ai/{model}", json=body, headers=SERVICE)

    assert response.status_code == status
    assert words in response.text


@pytest.mark.parametrize("body", [b'{"input": "a", "input": "b"}', b'{"input": {"a": 1, "a": 2}}'])
async def test_a_member_that_is_named_twice_is_refused(service: Service, body: bytes) -> None:
    """JSON that parsers disagree on is 422 at any depth, because its meaning cannot be hashed."""
    headers = {**SERVICE, "Content-Type": "application/json"}

    response = await service.ask("POST", "/v1/ai/langid", content=body, headers=headers)

    assert response.status_code == 422
    assert response.json()["field"] == "input"


async def test_stats_have_the_fields_that_dashboards_read(service: Service) -> None:
    """S4-43, S4-58: the stats have `available`, `stats`, `config` and `message`, for administrators only."""
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    stats = await service.ask("GET", "/v1/cache/stats", headers=ADMIN)
    refused = [
        await service.ask(method, path, headers=headers)
        for method, path in (("GET", "/v1/cache/stats"), ("DELETE", "/v1/cache?all=true"))
        for headers in (SERVICE, {})
    ]

    body = stats.json()
    assert [each.status_code for each in refused] == [403, 401] * 2
    assert body["available"] is True
    assert body["message"] == "Cache is healthy"
    assert set(body["stats"]) == {"used_memory", "total_keys", "hits", "misses", "hit_rate"}
    assert (body["stats"]["hits"], body["stats"]["misses"], body["stats"]["hit_rate"]) == (1, 1, 50.0)
    assert body["config"]["ttl_very_short"] == 300
    assert body["config"]["ttl_week"] == 604_800


@pytest.mark.parametrize("query", ["tag=model:langid", "pattern=ai:langid:*", "all=true"])
async def test_an_administrator_invalidates(service: Service, query: str) -> None:
    """S0-34, S4-40, S4-41: by tag, by pattern or all at once; the next request is a MISS."""
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    done = await service.ask("DELETE", f"/v1/cache?{query}", headers=ADMIN)
    after = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert done.status_code == 200
    assert done.json()["invalidated"] == query.partition("=")[0]
    assert done.json().get("deleted") == (None if query.startswith("tag") else 1)
    assert after.headers["x-cache"] == "MISS"


async def test_all_tags_are_invalidated(service: Service) -> None:
    """A tag that is given several times means each of its values."""
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    done = await service.ask("DELETE", "/v1/cache?tag=model:langid&tag=model:other", headers=ADMIN)
    after = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert (done.status_code, done.json()) == (200, {"invalidated": "tag"})
    assert after.headers["x-cache"] == "MISS"


#   method, path with a query in which a parameter comes twice, its name
REPEATED = [
    ("DELETE", "/v1/cache?pattern=ai:a:*&pattern=ai:b:*", "pattern"),
    ("DELETE", "/v1/cache?all=false&all=true", "all"),
    ("POST", "/v1/ai/langid?use_cache=true&use_cache=false", "use_cache"),
    ("GET", "/readyz?verbose=&verbose=", "verbose"),
]


@pytest.mark.parametrize(("method", "path", "name"), REPEATED)
async def test_any_other_parameter_comes_once(service: Service, method: str, path: str, name: str) -> None:
    """One of two values would be ignored: 400 names the parameter, and nothing is done."""
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    refused = await service.ask(method, path, headers=ADMIN, json=QUESTION if method == "POST" else None)
    after = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert refused.status_code == 400
    assert refused.json()["field"] == name
    assert after.headers["x-cache"] == "HIT"


@pytest.mark.parametrize("query", ["", "tag=a&all=true", "all=false", "tags=a", "tag=", "tag=model:langid&tag="])
async def test_a_vague_invalidation_is_refused(service: Service, query: str) -> None:
    """Not exactly one of tag, pattern and all is 400, and nothing is invalidated."""
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    refused = await service.ask("DELETE", f"/v1/cache?{query}", headers=ADMIN)
    after = await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)

    assert refused.status_code == 400
    assert after.headers["x-cache"] == "HIT"


async def test_a_key_is_explained(service: Service) -> None:
    """S4-45: what a read would find and why, for administrators only."""
    explained = await service.ask("POST", "/v1/cache/explain", json={"key": "model:1"}, headers=ADMIN)
    refused = await service.ask("POST", "/v1/cache/explain", json={"key": "model:1"}, headers=SERVICE)

    assert (explained.status_code, refused.status_code) == (200, 403)
    assert explained.json()["result"] == "absent"


#   the body of a request for an explanation that names the result for QUESTION
SAME_INPUT = [
    b'{"model": "langid", "input": "Der schnelle braune Fuchs springt \\u00fcber den faulen Hund."}',
    b'{"input": "\\u0044er schnelle braune Fuchs springt \xc3\xbcber den faulen Hund.", "model": "langid"}',
]


@pytest.mark.parametrize("body", SAME_INPUT)
async def test_the_result_for_an_input_is_explained(service: Service, body: bytes) -> None:
    """S4-45: a model and its input name the result that `POST /v1/ai/{model}` stores, however the JSON is written."""
    json = {**ADMIN, "Content-Type": "application/json"}
    before = await service.ask("POST", "/v1/cache/explain", content=body, headers=json)
    await service.ask("POST", "/v1/ai/langid", json=QUESTION, headers=SERVICE)
    after = await service.ask("POST", "/v1/cache/explain", content=body, headers=json)

    assert (before.json()["result"], after.json()["result"]) == ("absent", "hit")
    assert before.json()["name"] == after.json()["name"]
    assert "value" not in after.json()


#   body, status, field that is wrong
BAD_EXPLANATIONS: list[tuple[dict[str, object], int, str]] = [
    ({}, 400, "key"),
    ({"key": "model:1", "model": "langid"}, 400, "model"),
    ({"key": "model:1", "input": "x"}, 400, "input"),
    ({"model": "langid"}, 400, "input"),
    ({"input": "x"}, 400, "model"),
    ({"model": 7, "input": "x"}, 400, "model"),
    ({"key": "model:1", "value": True}, 400, "body"),
    ({"model": "langit", "input": "x"}, 422, "model"),
    ({"model": "langid", "input": None}, 422, "input"),
    ({"key": ""}, 422, "key"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD_EXPLANATIONS)
async def test_an_explanation_is_of_one_key(service: Service, body: dict[str, object], status: int, field: str) -> None:
    """A key, or a model and its input, and nothing else; a problem names the field. Values cannot be requested."""
    refused = await service.ask("POST", "/v1/cache/explain", json=body, headers=ADMIN)

    assert (refused.status_code, refused.json()["field"]) == (status, field)


async def test_an_ambiguous_input_is_not_explained(service: Service) -> None:
    """As for results, an object that names a member twice is 422."""
    body, json = b'{"model": "langid", "input": {"a": 1, "a": 2}}', {**ADMIN, "Content-Type": "application/json"}

    refused = await service.ask("POST", "/v1/cache/explain", content=body, headers=json)

    assert (refused.status_code, refused.json()["field"]) == (422, "input")
