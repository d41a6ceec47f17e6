"""The playground: each route of the guide over HTTP, and every change that makes a cached answer invalid."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest

from tests.project.imports import ROOT
from tests.worlds import StoreWorld
from tollhouse import CacheKeys, CacheTTL
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.wiring import embedded_binary

ADMIN = {"X-Api-Key": "the key of these tests"}
TRAIN = "/api/v1/models/train/abc-123"
OTHER = "/api/v1/models/train/def-456"
CLEAR = "/api/v1/models/cache/clear"
STATS = "/api/v1/models/cache/stats"
READS = ("metrics", "feature importance", "comparison")


class Playground:
    """The example, imported anew, and a client of it."""

    def __init__(self, client: httpx2.AsyncClient, module: Any) -> None:
        self.client = client
        self.module = module
        self.cache = module.cache_service

    async def read(self, what: str, **query: str) -> httpx2.Response:
        """Read one of the three things that are cached of run abc-123; a comparison is with def-456."""
        if what == "comparison":
            return await self.compare("abc-123", "def-456", **query)
        return await self.client.get(f"{TRAIN}/{what.replace(' ', '-')}", params=query)

    async def compare(self, *ids: str, metric: str = "accuracy", **query: str) -> httpx2.Response:
        body = {"model_run_ids": ids, "metric": metric}
        return await self.client.post("/api/v1/models/compare", json=body, params=query)

    async def sources(self, *whats: str) -> list[str]:
        """Read each, and return the X-Cache of the responses."""
        return [(await self.read(what)).headers["x-cache"] for what in whats or READS]

    async def change(self, how: str, path: str = TRAIN) -> httpx2.Response:
        if how == "delete":
            return await self.client.delete(path)
        return await self.client.post(f"{path}/{how}", json={"status": "paused"} if how == "status" else None)


@asynccontextmanager
async def playground_on(url: str, query_s: float = 0.005) -> AsyncIterator[Playground]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TOLLHOUSE_URL", url)
        patched.setenv("TOLLHOUSE_ADMIN_KEY", ADMIN["X-Api-Key"])
        patched.setenv("PLAYGROUND_QUERY_S", str(query_s))
        patched.delitem(sys.modules, "examples.playground", raising=False)
        module: Any = importlib.import_module("examples.playground")
    transport = httpx2.ASGITransport(app=module.app)
    async with (
        module.app.router.lifespan_context(module.app),
        httpx2.AsyncClient(transport=transport, base_url="http://playground") as client,
    ):
        yield Playground(client, module)


@pytest.fixture
async def slow_playground(embedded: StoreWorld) -> AsyncIterator[Playground]:
    async with playground_on(embedded.url, query_s=0.05) as playground:
        yield playground


@pytest.fixture
async def playground(embedded: StoreWorld) -> AsyncIterator[Playground]:
    async with playground_on(embedded.url) as playground:
        yield playground


ROUTES = [
    pytest.param("metrics", CacheTTL.LONG, CacheKeys.model_metrics("abc-123"), id="S4-18"),
    pytest.param("comparison", CacheTTL.MEDIUM, None, id="S4-21"),
    pytest.param("feature importance", CacheTTL.MEDIUM, CacheKeys.feature_importance("abc-123"), id="S4-24"),
]


@pytest.mark.parametrize(("what", "ttl", "key"), ROUTES)
async def test_a_read_is_computed_once(playground: Playground, what: str, ttl: int, key: str | None) -> None:
    """S0-35, S0-36, S3-01, S3-04: MISS, then HIT with the same body, which may be kept for the rest of the lifetime."""
    miss, hit = await playground.read(what), await playground.read(what)

    assert [one.status_code for one in (miss, hit)] == [200, 200]
    assert [one.headers["x-cache"] for one in (miss, hit)] == ["MISS", "HIT"]
    assert miss.json() == hit.json()
    for one in (miss, hit):
        assert 0.9 * ttl - 1 <= int(one.headers["cache-control"].removeprefix("max-age=")) <= ttl
    assert hit.headers["age"] == "0"
    assert key is None or await playground.cache.get(key=key) is not None


@pytest.mark.parametrize("what", READS)
async def test_a_client_may_bypass_the_cache(playground: Playground, what: str) -> None:
    """S4-19, S4-49: `?use_cache=false` computes, and neither reads nor stores."""
    first = await playground.read(what, use_cache="false")
    stored = await playground.read(what)
    playground.module.runs.change("abc-123", "changed behind the cache")
    second, hit = await playground.read(what, use_cache="false"), await playground.read(what)

    assert [one.headers["x-cache"] for one in (first, stored, second, hit)] == ["BYPASS", "MISS", "BYPASS", "HIT"]
    assert first.json() == stored.json() == hit.json() != second.json()
    assert "cache-control" not in second.headers


CASCADES = [
    pytest.param("complete", id="S4-20 S4-26 S4-36 training completes"),
    pytest.param("fail", id="S4-37 training fails"),
    pytest.param("status", id="S4-20 S4-23 status changes"),
]


@pytest.mark.parametrize("how", CASCADES)
async def test_a_change_makes_everything_of_a_run_invalid(playground: Playground, how: str) -> None:
    """S4-53: metrics, feature importance with and without `top_n`, and all comparisons; what is of others stays."""
    before = [(await playground.read(what)).json() for what in READS]
    await playground.read("feature importance", top_n="5")
    await playground.compare("def-456", "ghi-789")
    await playground.client.get(f"{OTHER}/metrics")

    changed = await playground.change(how)

    assert (changed.status_code, changed.json()["revision"]) == (200, 2)
    assert (await playground.read("feature importance", top_n="5")).headers["x-cache"] == "MISS"
    assert (await playground.compare("def-456", "ghi-789")).headers["x-cache"] == "MISS"
    assert (await playground.client.get(f"{OTHER}/metrics")).headers["x-cache"] == "HIT"
    after = [await playground.read(what) for what in READS]
    assert [one.headers["x-cache"] for one in after] == ["MISS"] * 3
    assert all(one.json() != old for one, old in zip(after, before, strict=True))


async def test_a_deleted_run_is_not_found(playground: Playground) -> None:
    """S4-20, S4-23, S4-26, S4-34, S4-38: nothing of it is served, and no comparison."""
    await playground.sources()
    await playground.read("feature importance", top_n="5")
    await playground.compare("def-456", "ghi-789")

    deleted = await playground.change("delete")

    assert deleted.status_code == 204
    assert [(await playground.read(what)).status_code for what in READS] == [404] * 3
    assert (await playground.read("feature importance", top_n="5")).status_code == 404
    assert (await playground.compare("def-456", "ghi-789")).headers["x-cache"] == "MISS"


async def test_a_comparison_has_no_order_but_a_metric(playground: Playground) -> None:
    """S4-21, S4-22: any order of the ids is one answer; another metric is another."""
    sources = [
        (await playground.compare(*ids, metric=metric)).headers["x-cache"]
        for ids, metric in (
            (("abc-123", "def-456"), "accuracy"),
            (("def-456", "abc-123"), "accuracy"),
            (("abc-123", "def-456", "abc-123"), "accuracy"),
            (("abc-123", "def-456"), "f1"),
            (("abc-123", "def-456", "ghi-789"), "accuracy"),
        )
    ]
    ranking = (await playground.compare("ghi-789", "abc-123", "def-456")).json()["ranking"]

    assert sources == ["MISS", "HIT", "HIT", "MISS", "MISS"]
    assert len(ranking) == 3
    assert ranking == sorted(ranking, key=lambda row: -row["value"])


async def test_the_number_of_features_is_part_of_the_key(playground: Playground) -> None:
    """S4-24, S4-25, S4-35: `?top_n=10` is an answer of its own, under the key of `CacheKeys`."""
    found = [await playground.read("feature importance", **query) for query in ({"top_n": "10"}, {"top_n": "5"}, {})]
    key = CacheKeys.feature_importance("abc-123", top_n=10)

    assert [one.headers["x-cache"] for one in found] == ["MISS"] * 3
    assert [len(one.json()["features"]) for one in found] == [10, 5, 20]
    assert key == "model:feature_importance:abc-123:top_10"
    assert await playground.cache.get(key=key) == found[0].json()
    assert (await playground.read("feature importance", top_n="10")).headers["x-cache"] == "HIT"


async def test_the_application_uses_the_cache_by_key(playground: Playground) -> None:
    """S4-27, S4-28, S4-29, S4-32: what `set` stores is answered, and what `delete` removes is computed."""
    key = CacheKeys.model_metrics("abc-123")
    value = {"figures": {"metrics": {"accuracy": 1.0}}, "loaded_at": 0}

    assert await playground.cache.set(key=key, value=value, ttl=CacheTTL.LONG)
    stored = await playground.read("metrics")
    assert await playground.cache.get(key=key) == value
    assert await playground.cache.delete(key=key)
    computed = await playground.read("metrics")

    assert (stored.json(), stored.headers["x-cache"]) == (value["figures"], "HIT")
    assert (computed.json()["model_run_id"], computed.headers["x-cache"]) == ("abc-123", "MISS")


async def test_results_of_decorated_functions_have_their_prefix(playground: Playground) -> None:
    """S4-33: `cache_response(key_prefix=, ttl=)` makes keys that its pattern matches."""
    await playground.sources()

    assert playground.module.comparison.key(["abc-123"], "f1").startswith("model:comparison:")
    assert await playground.cache.delete_pattern("model:comparison:*") == 1
    assert await playground.sources() == ["HIT", "HIT", "MISS"]


async def test_invalidations_have_names(playground: Playground) -> None:
    """S4-39: `invalidate_model_cache(id)` and `invalidate_comparison_cache()`; the latter leaves the runs alone."""
    await playground.sources()

    await playground.module.invalidate_comparison_cache()
    assert await playground.sources() == ["HIT", "HIT", "MISS"]
    await playground.module.invalidate_model_cache("abc-123")
    assert await playground.sources() == ["MISS"] * 3


async def test_an_administrator_clears_the_cache(playground: Playground) -> None:
    """S4-08, S4-30, S4-31, S4-40, S4-41: what matches a pattern, or everything; the answer is how much that was."""
    await playground.sources()
    await playground.client.get(f"{OTHER}/metrics")

    by_pattern = await playground.client.delete(CLEAR, params={"pattern": "model:metrics:*"}, headers=ADMIN)
    after = await playground.sources()
    everything = [await playground.client.delete(CLEAR, headers=ADMIN) for _ in range(2)]

    assert by_pattern.json() == {"deleted_count": 2}
    assert after == ["MISS", "HIT", "HIT"]
    assert [one.json() for one in everything] == [{"deleted_count": 3}, {"deleted_count": 0}]
    assert await playground.sources() == ["MISS"] * 3


async def test_the_stats_have_the_shape_of_the_guide(playground: Playground) -> None:
    """S4-42, S4-43: available, stats, config and message, with these fields and no others."""
    for _ in range(4):
        await playground.read("metrics")

    stats = (await playground.client.get(STATS, headers=ADMIN)).json()

    assert isinstance(stats["stats"].pop("used_memory"), str)
    assert stats == {
        "available": True,
        "stats": {"total_keys": 1, "hits": 3, "misses": 1, "hit_rate": "75.0%"},
        "config": {
            "ttl_very_short": 300,
            "ttl_short": 900,
            "ttl_medium": 1800,
            "ttl_long": 3600,
            "ttl_very_long": 7200,
            "ttl_day": 86400,
            "ttl_week": 604800,
        },
        "message": "Cache is healthy",
    }


async def test_management_needs_the_key(playground: Playground) -> None:
    """S4-58: 401 without the key of the administrator, and nothing is removed."""
    await playground.read("metrics")
    keys = (None, "", "another", f"{ADMIN['X-Api-Key']}, and more")
    headers = [{} if key is None else {"X-Api-Key": key} for key in keys]

    refused = [
        await playground.client.request(method, path, headers=one)
        for one in headers
        for method, path in (("GET", STATS), ("DELETE", CLEAR))
    ]

    assert [one.status_code for one in refused] == [401] * 8
    assert await playground.sources("metrics") == ["HIT"]


RACES = [
    *[("metrics", how) for how in ("complete", "fail", "status", "delete")],
    ("feature importance", "complete"),
    ("feature importance", "delete"),
    ("comparison", "complete"),
    ("comparison", "delete"),
]


@pytest.mark.parametrize(("what", "how"), RACES)
async def test_what_was_computed_before_a_change_is_not_cached(
    slow_playground: Playground, what: str, how: str
) -> None:
    """P6, S4-32: figures whose computation began before a change, and ended after it, are answered once at most."""
    playground = slow_playground
    before = (await playground.read(what, use_cache="false")).json()
    slow = asyncio.create_task(playground.read(what))
    while (await playground.cache.get_stats())["stats"]["misses"] == 0:
        pass

    await playground.change(how)
    answered, after = await slow, await playground.read(what)

    assert answered.json() == before
    assert after.status_code == (404 if how == "delete" else 200)
    assert after.headers.get("x-cache") != "HIT"
    assert after.json() != before


async def test_concurrent_reads_of_a_decorated_function_compute_once(playground: Playground) -> None:
    """P7, S3-24: others that ask meanwhile get the same answer, and say so."""
    found = await asyncio.gather(*(playground.read("feature importance") for _ in range(5)))

    assert sorted(one.headers["x-cache"] for one in found) == ["COALESCED"] * 4 + ["MISS"]
    assert len({one.text for one in found}) == 1


#    method, path, body, status, the last place that the answer names
WRONG: list[tuple[str, str, Any, int, str | int | None]] = [
    ("GET", "/api/v1/models/train/unknown/metrics", None, 404, None),
    ("GET", "/api/v1/models/train/unknown/feature-importance", None, 404, None),
    ("POST", "/api/v1/models/compare", {"model_run_ids": ["abc-123", "unknown"]}, 404, None),
    ("POST", "/api/v1/models/train/unknown/complete", None, 404, None),
    ("POST", "/api/v1/models/train/unknown/fail", None, 404, None),
    ("POST", "/api/v1/models/train/unknown/status", {"status": "paused"}, 404, None),
    ("DELETE", "/api/v1/models/train/unknown", None, 404, None),
    ("GET", f"/api/v1/models/train/{'x' * 257}/metrics", None, 422, "model_run_id"),
    ("GET", f"{TRAIN}/feature-importance?top_n=0", None, 422, "top_n"),
    ("GET", f"{TRAIN}/feature-importance?top_n=21", None, 422, "top_n"),
    ("POST", "/api/v1/models/compare", {"model_run_ids": ["abc-123"], "metric": "beauty"}, 422, "metric"),
    ("POST", "/api/v1/models/compare", {"model_run_ids": []}, 422, "model_run_ids"),
    ("POST", "/api/v1/models/compare", {"model_run_ids": ["x" * 257]}, 422, 0),
    ("POST", f"{TRAIN}/status", {}, 422, "status"),
    ("DELETE", f"{CLEAR}?pattern=model:met*", None, 422, "pattern"),
]


async def test_what_cannot_be_answered_is_refused(playground: Playground) -> None:
    """404 for a run that is not there, 422 with the name of the field; neither is cached."""
    answers = [
        await playground.client.request(method, path, json=body, headers=ADMIN)
        for method, path, body, _, _ in [*WRONG, *WRONG]
    ]
    fields = [one.json()["detail"][0]["loc"][-1] if one.status_code == 422 else None for one in answers]

    assert list(zip([one.status_code for one in answers], fields, strict=True)) == [row[3:] for row in [*WRONG, *WRONG]]
    assert (await playground.client.get(STATS, headers=ADMIN)).json()["stats"]["total_keys"] == 0


#    route, ms without the cache, longest ms with it, least ratio
GUIDE = [
    ("metrics", (500, 800), 20, 40),
    ("feature importance", (300, 600), 20, 30),
    ("comparison", (1000, 2000), 25, 66),
]


@pytest.mark.parametrize(("route", "without_ms", "with_ms", "ratio"), GUIDE)
def test_the_published_figures_are_no_worse_than_those_of_the_guide(
    route: str, without_ms: tuple[int, int], with_ms: int, ratio: int
) -> None:
    """S3-03, S3-23, S4-46, S4-47: as slow without the cache, and at least as much faster with it."""
    result = msgspec.json.decode((ROOT / "bench/results/playground.json").read_bytes())
    (row,) = [row for row in result["figures"] if row["route"] == route]

    assert without_ms[0] <= row["without_ms"] <= without_ms[1]
    assert row["with_p95_ms"] <= with_ms
    assert row["without_ms"] / row["with_ms"] >= max(ratio, 8)


async def test_without_a_server_every_route_answers() -> None:
    """S4-01, S4-43, S4-52: figures are computed, changes are made, and the stats say that the cache is down."""
    server = EmbeddedServer.start(binary=embedded_binary())
    try:
        async with playground_on(f"unix://{server.socket_path}") as playground:
            assert (await playground.client.get("/health")).json()["cache"] == "connected"
            old = [(await playground.read(what)).json() for what in READS]
            server.stop()
            assert (await playground.client.get("/health")).json()["cache"] == "disconnected"

            changed = await playground.change("complete")
            answers = [await playground.read(what) for what in READS]
            stats = await playground.client.get(STATS, headers=ADMIN)

            assert [one.status_code for one in (changed, *answers, stats)] == [200] * 5
            assert all(one.json() != outdated for one, outdated in zip(answers, old, strict=True))
            assert not any("cache-control" in one.headers for one in answers)
            assert (stats.json()["available"], stats.json()["message"]) == (False, "Cache is unavailable")
            assert (await playground.client.delete(CLEAR, headers=ADMIN)).status_code == 503
            assert (await playground.change("delete")).status_code == 204
    finally:
        server.stop()
