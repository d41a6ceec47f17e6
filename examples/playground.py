"""The routes of an AI playground, cached. Run it in a clone with `uvicorn examples.playground:app`.

Install what it needs with `pip install . fastapi uvicorn`.

Figures of training runs take half a second to compute (PLAYGROUND_QUERY_S), and some milliseconds to find again. Copy
what you need: a cache by hand (metrics) or by decorators (the others), invalidated by tags or by patterns.

TOLLHOUSE_URL or REDIS_URL names the server of the cache; without one an embedded Valkey starts, and ends with the
application. TOLLHOUSE_ADMIN_KEY is the key for the management of the cache. The runs are in memory: run one process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from fastapi import Body, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from pydantic import Field

import tollhouse
from tollhouse import (
    CacheKeys,
    CacheResult,
    CacheService,
    CacheTTL,
    InvalidInput,
    cache_headers,
    cache_response,
    invalidate_cache,
    rcached,
)

URL = os.environ.get("TOLLHOUSE_URL") or os.environ.get("REDIS_URL") or "embedded://"
ADMIN_KEY = os.environ.get("TOLLHOUSE_ADMIN_KEY", "")
QUERY_S = float(os.environ.get("PLAYGROUND_QUERY_S", "0.5"))

RunId = Annotated[str, Field(min_length=1, max_length=256)]
Figures = dict[str, Any]
Metric = Literal["accuracy", "precision", "recall", "f1"]
METRICS: tuple[str, ...] = get_args(Metric)
FEATURES = tuple(f"feature_{number}" for number in range(1, 21))
COMPARISONS = "comparisons"


@dataclass(frozen=True)
class Run:
    """A training run; each change makes another revision of it, with other figures."""

    model_run_id: str
    status: str = "running"
    revision: int = 1

    def figure(self, name: str) -> float:
        """Return a number from 0.5 to 1."""
        digest = hashlib.sha256(f"{self.model_run_id} {self.revision} {name}".encode()).digest()
        return round(0.5 + int.from_bytes(digest[:4], "big") / 2**33, 6)


class Runs:
    """The database. A query answers with what was there when it began, as one in a transaction does."""

    def __init__(self, *ids: str) -> None:
        self._runs = {each: Run(each) for each in ids}

    async def query(self, model_run_id: str, names: Sequence[str]) -> tuple[Run, dict[str, float]]:
        """Compute figures of a run, slowly."""
        run = self.find(model_run_id)
        await asyncio.sleep(QUERY_S)
        return run, {name: run.figure(name) for name in names}

    def find(self, model_run_id: str) -> Run:
        if model_run_id not in self._runs:
            raise HTTPException(404, "there is no such training run")
        return self._runs[model_run_id]

    def change(self, model_run_id: str, status: str) -> Run:
        run = self.find(model_run_id)
        self._runs[model_run_id] = changed = replace(run, status=status, revision=run.revision + 1)
        return changed

    def delete(self, model_run_id: str) -> None:
        del self._runs[self.find(model_run_id).model_run_id]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
    async with th:
        yield


app = FastAPI(title="Playground", lifespan=lifespan)
th = tollhouse.open(URL)
cache_service = CacheService(th)
runs = Runs("abc-123", "def-456", "ghi-789")


@app.get("/api/v1/models/train/{model_run_id}/metrics")
async def get_metrics(model_run_id: str, response: Response, *, use_cache: bool = True) -> Figures:
    """Look, load, store: a cache by hand.

    If the run has changed since the look, the `set` is refused: what was loaded is answered once, and not cached.
    """
    key = CacheKeys.model_metrics(model_run_id)
    figures: Figures
    found = await cache_service.get(key=key) if use_cache else None
    if found is not None:
        response.headers["X-Cache"] = "HIT"
        response.headers["Cache-Control"] = f"max-age={CacheTTL.LONG}"
        response.headers["Age"] = str(max(int(time.time() - found["loaded_at"]), 0))
        figures = found["figures"]
        return figures
    response.headers["X-Cache"] = "MISS" if use_cache else "BYPASS"
    run, metrics = await runs.query(model_run_id, METRICS)
    figures = {**vars(run), "metrics": metrics}
    value = {"figures": figures, "loaded_at": time.time()}
    if use_cache and await cache_service.set(key=key, value=value, ttl=CacheTTL.LONG, tags=[tag_of(model_run_id)]):
        response.headers["Cache-Control"] = f"max-age={CacheTTL.LONG}"
    return figures


@app.get("/api/v1/models/train/{model_run_id}/feature-importance")
async def get_feature_importance(
    model_run_id: str,
    response: Response,
    top_n: Annotated[int | None, Query(ge=1, le=len(FEATURES))] = None,
    *,
    use_cache: bool = True,
) -> Figures:
    """Answer with a cached function, and say whether its result was found or computed."""
    return answer(response, await feature_importance.fetch(model_run_id, top_n, use_cache=use_cache))


@app.post("/api/v1/models/compare")
async def compare(
    model_run_ids: Annotated[list[RunId], Body(min_length=1, max_length=20)],
    response: Response,
    metric: Annotated[Metric, Body()] = "accuracy",
    *,
    use_cache: bool = True,
) -> Figures:
    """Compare runs: one answer for any order of them, another for another metric."""
    return answer(response, await comparison.fetch(sorted({*model_run_ids}), metric, use_cache=use_cache))


def tag_of(model_run_id: str) -> str:
    return f"model:{model_run_id}"


@rcached(ttl=CacheTTL.MEDIUM, key=CacheKeys.feature_importance, tags=["model:{model_run_id}"], cache=cache_service)
async def feature_importance(
    model_run_id: str,
    top_n: int | None,
    *,
    use_cache: bool = True,  # noqa: ARG001 - the decorator reads it
) -> Figures:
    """Compute the importance of features, the greatest first; once, however many ask for it meanwhile."""
    run, importance = await runs.query(model_run_id, FEATURES)
    greatest = sorted(importance, key=lambda name: -importance[name])[:top_n]
    return {**vars(run), "features": [{"feature": name, "importance": importance[name]} for name in greatest]}


@cache_response(
    key_prefix="model:comparison",
    ttl=CacheTTL.MEDIUM,
    tags=lambda figures: [COMPARISONS, *map(tag_of, figures["model_run_ids"])],
    cache=cache_service,
)
async def comparison(
    model_run_ids: list[str],
    metric: Metric,
    *,
    use_cache: bool = True,  # noqa: ARG001 - the decorator reads it
) -> Figures:
    """Compare runs by a metric, one query after the other, the best one first."""
    found = [await runs.query(each, [metric]) for each in model_run_ids]
    ranked = [{**vars(run), "value": figures[metric]} for run, figures in found]
    ranked.sort(key=lambda row: -row["value"])
    return {"model_run_ids": model_run_ids, "metric": metric, "ranking": ranked}


def answer(response: Response, found: CacheResult[Figures]) -> Figures:
    """Add X-Cache, Age and Cache-Control: max-age.

    No invalidation reaches a browser that keeps a response: without `max_age` it asks each time.
    """
    response.headers.update(cache_headers(found, max_age=True))
    return found.value


@app.post("/api/v1/models/train/{model_run_id}/complete")
@invalidate_cache(tags=["model:{model_run_id}", COMPARISONS], cache=cache_service)
async def complete(model_run_id: str) -> Run:
    """End a training with success. Whatever is cached of the run, and all comparisons, are invalid from then on."""
    return runs.change(model_run_id, "completed")


@app.post("/api/v1/models/train/{model_run_id}/fail")
async def fail(model_run_id: str) -> Run:
    """End a training with a failure, which invalidates the same; here without a decorator."""
    run = runs.change(model_run_id, "failed")
    await invalidate_model_cache(model_run_id)
    await invalidate_comparison_cache()
    return run


@app.post("/api/v1/models/train/{model_run_id}/status")
@invalidate_cache(tags=["model:{model_run_id}", COMPARISONS], cache=cache_service)
async def change_status(
    model_run_id: str, status: Annotated[str, Body(embed=True, min_length=1, max_length=50)]
) -> Run:
    return runs.change(model_run_id, status)


@app.delete("/api/v1/models/train/{model_run_id}", status_code=204)
@invalidate_cache(
    patterns=[
        "model:metrics:{model_run_id}",
        "model:feature_importance:{model_run_id}",
        "model:feature_importance:{model_run_id}:*",
        "model:comparison:*",
    ],
    cache=cache_service,
)
async def delete(model_run_id: str) -> None:
    """Delete a run, which invalidates the same; here by patterns. They look at every key: prefer tags."""
    runs.delete(model_run_id)


async def invalidate_model_cache(model_run_id: str) -> None:
    await cache_service.invalidate_tags(tag_of(model_run_id))


async def invalidate_comparison_cache() -> None:
    await cache_service.invalidate_tags(COMPARISONS)


def administrator(key: Annotated[str | None, Depends(APIKeyHeader(name="X-Api-Key", auto_error=False))]) -> None:
    """Refuse a request without the key of the administrator; without such a key, every request."""
    if not ADMIN_KEY or not secrets.compare_digest((key or "").encode(), ADMIN_KEY.encode()):
        raise HTTPException(401, "give the admin key as X-Api-Key", {"WWW-Authenticate": "APIKey"})


@app.delete("/api/v1/models/cache/clear", dependencies=[Depends(administrator)])
async def clear_cache(pattern: str | None = None) -> dict[str, int]:
    """Remove what matches a pattern such as `model:metrics:*`, or everything, and say how much that was."""
    deleted = await (cache_service.clear_all() if pattern is None else cache_service.delete_pattern(pattern))
    if not cache_service.is_available():
        raise HTTPException(503, "the cache is not available; it will be cleared before it is read again")
    return {"deleted_count": deleted}


@app.get("/api/v1/models/cache/stats", dependencies=[Depends(administrator)])
async def cache_stats() -> dict[str, Any]:
    stats = await cache_service.get_stats()
    return {name: stats[name] for name in ("available", "stats", "config", "message")}


@app.get("/health")
async def health() -> dict[str, str]:
    """Return whether the cache is connected or disconnected; the application works without it, only slower."""
    return {"status": "ok", "cache": await th.connection("cache")}


@app.exception_handler(InvalidInput)
async def refuse(_: Request, error: InvalidInput) -> JSONResponse:
    """Answer 422 for what the cache cannot use, such as the pattern `model:met*`."""
    return JSONResponse({"detail": [{"type": "value_error", "loc": [error.field], "msg": str(error)}]}, 422)
