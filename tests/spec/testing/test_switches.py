"""Limits and cache that are off: by the settings, or by the switches for tests."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import tollhouse
from tests.project.imports import package_imports
from tollhouse import Take, Tollhouse, wiring
from tollhouse.limits.decision import Decision
from tollhouse.settings import Settings
from tollhouse.settings.enabled import report_off, turned_off
from tollhouse.settings.model import CacheSettings, LimitSettings, PolicySettings
from tollhouse.testing import World, cache_off, cache_on, limits_off

OFF = LimitSettings(enabled=False)
POLICIES = {"api": "1/minute", "slots": "1/minute"}


def settings_of(world: World, **values: Any) -> Settings:
    return Settings(url=world.url, **values)


async def load_value() -> str:
    return "value"


async def all_verbs(th: Tollhouse) -> list[Decision]:
    """Return what each verb that takes, or looks, decides about more than the limit."""
    limits = th.limits
    together = await limits.take_all([Take(policy="api", key="ada", cost=9)])
    reserved = await limits.reserve("api", "ada", 9)
    return [
        await limits.take("api", "ada", 9),
        *await limits.take_batch([Take(policy="api", key="ada", cost=9)]),
        *together.decisions,
        await limits.take_up_to("api", "ada", 9),
        await limits.acquire("api", "ada", 9, wait_ms=0),
        await limits.peek("api", "ada", 9),
        reserved.decision,
    ]


async def test_limits_that_are_off_allow_every_take_without_a_store() -> None:
    """Every verb is allowed with the reason `disabled` and charges nothing, also while the store is down."""
    with World() as world:
        async with tollhouse.open(settings_of(world, limits=OFF), policies=POLICIES) as th:
            with world.down():
                decisions = await all_verbs(th)
        async with tollhouse.open(world.url, policies=POLICIES) as th:
            left = await th.limits.peek("api", "ada")

    assert {(one.allowed, one.reason, one.cost, one.limits, one.degraded) for one in decisions} == {
        (True, "disabled", 9, (), False)
    }
    assert left.limits[0].remaining == 1


async def test_leases_are_granted_while_limits_are_off() -> None:
    """A policy of concurrency holds nothing either, and looking agrees with leasing."""
    policies = {"slots": PolicySettings(limit="1/minute", algorithm="concurrency")}
    with World() as world:
        settings = settings_of(world, limits=LimitSettings(enabled=False, policies=policies))
        async with (
            tollhouse.open(settings) as th,
            th.limits.hold("slots", "ada") as one,
            th.limits.hold("slots", "ada") as other,
        ):
            peeked = await th.limits.peek("slots", "ada")

    assert [one.decision.reason, other.decision.reason, peeked.reason] == ["disabled"] * 3


async def test_the_switch_reaches_limiters_that_are_open_and_those_that_open() -> None:
    """The switch overrides the settings while its block runs; then limits go on with the counts that they had."""
    with World() as world:
        async with tollhouse.open(world.url, policies=POLICIES) as th:
            before = [(await th.limits.take("api", "ada")).reason for _ in range(2)]
            with limits_off():
                during = (await th.limits.take("api", "ada")).reason
                async with tollhouse.open(world.url, policies=POLICIES) as opened:
                    meanwhile = (await opened.limits.take("api", "ada")).reason
                    inside = {**opened.limits.policies}
                    opened.limits.replace_policies(inside)
                    replaced = (await opened.limits.take("api", "ada")).reason
            after = (await th.limits.take("api", "ada")).reason

    assert before == ["within-limits", "limit-reached"]
    assert [during, meanwhile, replaced, after] == ["disabled", "disabled", "disabled", "limit-reached"]


def test_an_app_whose_limits_are_off_answers_every_request() -> None:
    """Middleware whose settings have limits off refuses no request, and says nothing of limits in its responses."""
    with World() as world:
        app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))])
        settings = settings_of(world, limits=OFF)
        limited = tollhouse.RateLimitMiddleware(app, settings=settings, policies=POLICIES, policy="api")

        answers = [TestClient(limited).get("/") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert [name for answer in answers for name in answer.headers if name == "ratelimit"] == []


async def test_a_policy_that_does_not_exist_is_an_error_while_limits_are_off() -> None:
    """A typo in the name of a policy is found also by a test without limits."""
    with World() as world, limits_off():
        async with tollhouse.open(world.url, policies=POLICIES) as th:
            with pytest.raises(tollhouse.InvalidInput):
                await th.limits.take("apu", "ada")


READS: list[tuple[Callable[[], Any], bool, str]] = [
    (cache_off, True, "DISABLED"),
    (cache_on, True, "HIT"),
    (cache_on, False, "HIT"),
]


@pytest.mark.parametrize(("switch", "enabled", "expected"), READS)
async def test_the_cache_follows_its_switch(switch: Callable[[], Any], enabled: bool, expected: str) -> None:
    """S3-30: the cache can be off, or on, whatever the settings say, for caches that are open and those that open."""
    with World() as world:
        settings = settings_of(world, cache=CacheSettings(enabled=enabled))
        async with tollhouse.open(settings) as th, tollhouse.open(settings) as other:
            read: Callable[[], Awaitable[Any]] = lambda: th.cache.fetch("key", load_value)  # noqa: E731 - three uses
            await read()
            with switch():
                await read()
                during = [(await read()).status, (await other.cache.fetch("key", load_value)).status]
            after = (await other.cache.fetch("key", load_value)).status

    assert during == [expected] * 2
    assert after == ("HIT" if enabled else "DISABLED")


async def test_the_inner_switch_decides() -> None:
    """A test that needs the cache turns it on inside a suite that has it off."""
    with World() as world, cache_off():
        async with tollhouse.open(world.url) as th:
            with cache_on():
                found = [(await th.cache.fetch("key", load_value)).status for _ in range(2)]
            found.append((await th.cache.fetch("key", load_value)).status)

    assert found == ["MISS", "HIT", "DISABLED"]


@pytest.mark.parametrize("variable", ["TOLLHOUSE_LIMITS_ENABLED", "TOLLHOUSE_CACHE_ENABLED"])
async def test_what_a_setting_turned_off_is_logged_once(caplog: pytest.LogCaptureFixture, variable: str) -> None:
    """A variable turns limits or the cache off; the process says so once, with the variable to turn it on."""
    settings = wiring.load_settings(environ={"TOLLHOUSE_URL": "fake://", variable: "false"})
    report_off.cache_clear()

    with caplog.at_level(logging.WARNING, "tollhouse"):
        for _ in range(2):
            async with wiring.open(settings):
                pass

    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{variable}=true" in record.getMessage()
    assert len(turned_off(settings)) == 1
    assert turned_off(Settings()) == ()


def test_no_request_reaches_a_switch_or_a_fault() -> None:
    """Nothing that serves requests names the part for tests, a switch or a fake server."""
    imports = package_imports()
    modules = ("tollhouse.runtime.switch", "tollhouse.testing", "tollhouse.stores.fake")

    named_by = {
        name: {module for module, names in imports.items() if any(one.startswith(name) for one in names)}
        for name in modules
    }

    assert {name: sorted(one for one in found if not one.startswith(name)) for name, found in named_by.items()} == {
        "tollhouse.runtime.switch": ["tollhouse.wiring.features"],
        "tollhouse.testing": [],
        "tollhouse.stores.fake": ["tollhouse.stores.opening", "tollhouse.testing.world"],
    }
