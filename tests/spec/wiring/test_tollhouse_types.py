"""Values of another type: what a caller passes by mistake is told as a value, not as an error of Python."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tollhouse
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.rules import RateLimitRule
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.litestar import TollhousePlugin
from tollhouse.wiring import Tollhouse

UNHASHABLE = ["x"]


async def load() -> int:
    return 1


#   the field that is told, and the call
CALLS: list[tuple[str, Callable[[Any], Awaitable[object]]]] = [
    ("policy", lambda th: th.sessions.create("ada", policy=UNHASHABLE)),
    ("policy", lambda th: th.accounts.login("ada", "x" * 20, address="::1", policy=UNHASHABLE)),
    ("token", lambda th: th.sessions.verify(None)),
    ("sid", lambda th: th.sessions.revoke("ada", 7)),
    ("keep", lambda th: th.sessions.revoke_all("ada", keep="ada")),
    ("password", lambda th: th.accounts.sign_up("ada", None, address="::1")),
    ("family", lambda th: th.cache.fetch("k", load, family=7)),
    ("key", lambda th: th.cache.get_or_load(7, load)),
    ("key", lambda th: th.cache.invalidate(None)),
    ("tags", lambda th: th.cache.get_or_load("k", load, tags=7)),
    ("tags", lambda th: th.cache.get_or_load("k", load, tags="users")),
    ("ttl_s", lambda th: th.cache.get_or_load("k", load, ttl_s="60")),
    ("ttl_s", lambda th: th.cache.get_or_load("k", load, ttl_s=0.5)),
    ("ttl_s", lambda th: th.cache.get_or_load("k", load, ttl_s=True)),
    ("load", lambda th: th.cache.get_or_load("k", 7)),
    ("load", lambda th: th.cache.get_or_load("k", lambda: 7)),
    ("model", lambda th: th.results.answer(UNHASHABLE, "x", tenant="t")),
    ("tenant", lambda th: th.results.answer("m", "x", tenant=None)),
    ("takes", lambda th: th.limits.take_batch(7)),
    ("takes", lambda th: th.limits.take_all(None)),
    ("takes[0]", lambda th: th.limits.take_all("api")),
    ("takes[0]", lambda th: th.limits.take_batch([{"policy": "api"}])),
    ("decision", lambda th: th.limits.undo("api")),
    ("age_ms", lambda th: th.limits.undo(None, age_ms="1")),
]


@pytest.fixture
def opened() -> Tollhouse:
    return tollhouse.open(tollhouse.Settings(url="fake://types", secret=(b"s" * 32,)), policies={"api": "9/minute"})


@pytest.mark.parametrize(("field", "call"), CALLS, ids=[f"{i}-{row[0]}" for i, row in enumerate(CALLS)])
async def test_a_value_of_another_type_is_invalid_input(
    opened: Tollhouse, field: str, call: Callable[[Any], Awaitable[object]]
) -> None:
    """Every call tells the field by InvalidInput, and names what to give instead."""
    async with opened as th:
        with pytest.raises(InvalidInput) as told:
            await call(th)

    assert told.value.field == field
    assert told.value.remedy


ANY: Any = RateLimitMiddleware
MADE: list[tuple[str, Callable[[], object]]] = [
    ("key", lambda: ANY(None, url="fake://", key=UNHASHABLE)),
    ("routes", lambda: ANY(None, url="fake://", routes=["/login"])),
    ("routes", lambda: ANY(None, url="fake://", routes={7: "default"})),
    ("policy", lambda: ANY(None, url="fake://", routes={"/": 7})),
    ("policy", lambda: ANY(None, url="fake://", routes={"/": RateLimitRule(messages=UNHASHABLE)})),  # pyright: ignore[reportArgumentType] - the mistake
    ("trusted_proxies", lambda: ANY(None, url="fake://", trusted_proxies="loopback")),
    ("trusted_proxies", lambda: ANY(None, url="fake://", trusted_proxies=7)),
    ("ipv6_prefix_bits", lambda: ANY(None, url="fake://", ipv6_prefix_bits="64")),
    ("limiter", lambda: ANY(None, limiter=7)),
    ("exclude", lambda: TollhousePlugin("fake://", exclude="(")),
    ("exclude", lambda: TollhousePlugin("fake://", exclude=["/health"])),  # pyright: ignore[reportArgumentType] - the mistake
    ("url", lambda: tollhouse.open(7)),  # pyright: ignore[reportArgumentType] - the mistake
    ("file", lambda: tollhouse.load_settings(7)),  # pyright: ignore[reportArgumentType] - the mistake
]


@pytest.mark.parametrize(("setting", "make"), MADE, ids=[f"{i}-{row[0]}" for i, row in enumerate(MADE)])
def test_an_argument_of_another_type_is_a_configuration_error(setting: str, make: Callable[[], object]) -> None:
    """What the application is made of tells the argument by ConfigurationError."""
    with pytest.raises(ConfigurationError) as told:
        make()

    assert told.value.setting == setting


MINUTE = Limit(units=5, window_ms=60_000)
FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("policy", {"name": 7}),
    ("policies.api.key", {"key": 7}),
    ("policies.api.shadow", {"shadow": "false"}),
    ("policies.api.shadow_of", {"shadow_of": 7}),
    ("policies.api.allow", {"allow": 7}),
    ("policies.api.deny", {"deny": "10.0.0.0/8"}),
    ("policies.api.deny", {"deny": (7,)}),
    ("policies.api.limits", {"limits": "5/minute"}),
    ("policies.api.limits", {"limits": ("5/minute",)}),
    ("policies.api", {"limits": (Limit(units="5", window_ms=60_000),)}),  # pyright: ignore[reportArgumentType] - the mistake
    ("policies.api", {"limits": (Limit(units=5, window_ms=None),)}),  # pyright: ignore[reportArgumentType] - the mistake
]


@pytest.mark.parametrize(("field", "given"), FIELDS, ids=[f"{i}-{row[0]}" for i, row in enumerate(FIELDS)])
def test_a_policy_of_other_types_is_invalid_input(field: str, given: dict[str, Any]) -> None:
    """A Policy tells the field that has another type."""
    with pytest.raises(InvalidInput) as told:
        Policy(**{"name": "api", "limits": (MINUTE,), **given})

    assert told.value.field == field
