"""Tollhouse under measurement: every algorithm; the default one also with full sub-buckets and with three windows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import product

import tollhouse
from bench.contender import LIMIT, STRICT, Contender
from tollhouse import scripts
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.limiter import TAKES_MAX, Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.metrics import Metrics
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store
from tollhouse.wiring import Tollhouse

LIBRARY = "Tollhouse"
DEFAULT = "sliding-window"
FILLED = "sliding-window, filled"
THREE = "sliding-window, 3 windows"
THREE_FILLED = "sliding-window, 3 windows, filled"
_OTHERS = ("sliding-window-counter", "sliding-log", "fixed-window", "gcra")
_WINDOWS = {
    **dict.fromkeys((DEFAULT, FILLED, *_OTHERS), "{0}/hour"),
    **dict.fromkeys((THREE, THREE_FILLED), "{0}/hour; {1}/day; {2}/week"),
}


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[list[Contender]]:
    """Return all of them, on the server at this URL."""
    async with tollhouse.open(_settings(url)) as th:
        yield [_contender(th, algorithm) for algorithm in _WINDOWS]


def _settings(url: str) -> Settings:
    policies = {
        _policy(algorithm, units): PolicySettings(
            limit=windows.format(units, 10 * units, 50 * units),
            algorithm=algorithm if algorithm in _OTHERS else DEFAULT,
        )
        for (algorithm, windows), units in product(_WINDOWS.items(), (LIMIT, STRICT))
    }
    return Settings(url=url, limits=LimitSettings(policies=policies))


def _policy(algorithm: str, units: int) -> str:
    return f"{algorithm.replace(', ', '.').replace(' ', '-')}.{units}"


def _contender(th: Tollhouse, algorithm: str) -> Contender:
    policy = _policy(algorithm, LIMIT)
    return Contender(
        library=LIBRARY,
        algorithm=algorithm,
        ask=partial(th.limits.take, policy),
        strict=partial(th.limits.take, _policy(algorithm, STRICT)),
        admitted=_admitted,
        fill=partial(_fill, th, policy) if algorithm in (FILLED, THREE_FILLED) else None,
    )


def _admitted(decision: Decision) -> bool:
    return decision.allowed and not decision.degraded


async def _fill(th: Tollhouse, policy: str, subjects: Sequence[str]) -> None:
    """Take one unit of each subject in every sub-bucket that still counts."""
    for at_ms in _moments(th.policies[policy], time.time_ns() // 1_000_000):
        await _take_at(at_ms, th, policy, subjects)


async def _take_at(at_ms: int, th: Tollhouse, policy: str, subjects: Sequence[str]) -> None:
    """Take one unit of each subject with a limiter whose clock shows that time."""
    stores = open_stores(urls_by_store(th.settings.url, {}), scripts.load(), Metrics(), clock=lambda: at_ms)
    limiter = Limiter(stores.limits, th.policies, th.keyring, Metrics())
    try:
        for first in range(0, len(subjects), TAKES_MAX):
            takes = [Take(policy=policy, key=subject) for subject in subjects[first : first + TAKES_MAX]]
            assert all(_admitted(decision) for decision in await limiter.take_batch(takes))
    finally:
        await stores.aclose()


def _moments(policy: Policy, now_ms: int) -> list[int]:
    """Yield a moment in every older sub-bucket of every window, oldest first."""
    return sorted(
        now_ms - limit.window_ms * back // limit.resolution
        for limit in policy.limits
        for back in range(1, limit.resolution + 1)
    )
