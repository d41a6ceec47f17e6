"""What belongs to one event loop says so in another one, after its end, and without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from tests.runners import in_another_loop, under_trio
from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.errors import ConfigurationError
from tollhouse.limits.decision import Take
from tollhouse.settings import Settings
from tollhouse.settings.model import LimitSettings, PolicySettings
from tollhouse.wiring import Tollhouse

Use = Callable[[Tollhouse], Awaitable[object]]
SECRET = b"a secret for tests, 32 bytes or more"


async def _value() -> str:
    return "value"


USES: dict[str, Use] = {
    "take": lambda th: th.limits.take("default", "ada"),
    "take_batch": lambda th: th.limits.take_batch([Take(policy="default", key="ada")]),
    "take_all": lambda th: th.limits.take_all([Take(policy="default", key="ada")]),
    "take_up_to": lambda th: th.limits.take_up_to("default", "ada", 1),
    "peek": lambda th: th.limits.peek("default", "ada"),
    "reset": lambda th: th.limits.reset("default", "ada"),
    "reserve": lambda th: th.limits.reserve("default", "ada", 1),
    "lease": lambda th: th.limits.lease("permits", "ada"),
    "session": lambda th: th.sessions.create(user="ada"),
    "sessions": lambda th: th.sessions.revoke_all("ada"),
    "cache": lambda th: th.cache.get_or_load("key", _value),
    "cached": lambda th: th.cache.invalidate("key"),
    "login": lambda th: th.accounts.login("ada", "a long enough password", address="192.0.2.1"),
    **{f"ping {name}": lambda th, name=name: getattr(th.stores, name).ping() for name in wiring.store_urls(Settings())},
}


def opened(world: StoreWorld) -> Tollhouse:
    return open_at(world.url)


def open_at(url: str) -> Tollhouse:
    permits = PolicySettings(limit="5/minute", algorithm="concurrency")
    policies = {"permits": permits, **{name: PolicySettings(limit="100/minute") for name in ("default", "signup")}}
    limits = LimitSettings(policies=policies)
    return wiring.open(Settings(url=url, secret=(SECRET,), limits=limits))


async def refused(use: Use, tollhouse: Tollhouse) -> str:
    """Return the remedy of the error that a use raises."""
    with pytest.raises(ConfigurationError) as error:
        await use(tollhouse)
    return error.value.remedy


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_another_event_loop_is_refused_with_its_remedy(world: StoreWorld, use: Use) -> None:
    """Used in a second loop while the first one runs, nothing is decided, hangs or fails without a remedy."""
    async with opened(world) as tollhouse:
        await use(tollhouse)

        assert "one in each event loop" in await in_another_loop(lambda: refused(use, tollhouse))
        await use(tollhouse)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_a_use_after_the_end_is_refused_with_its_remedy(world: StoreWorld, use: Use) -> None:
    """Once closed, used before or not, a Tollhouse decides nothing; the remedy is to open another one."""
    for used in (True, False):
        async with opened(world) as tollhouse:
            if used:
                await use(tollhouse)

        assert "open another one" in await refused(use, tollhouse)
        await tollhouse.aclose()


@pytest.mark.parametrize("use", [use for name, use in USES.items() if name != "login"])
def test_without_asyncio_the_remedy_is_named(use: Use) -> None:
    """If asyncio runs no loop, as under trio, the remedy is to run on asyncio."""
    for url in ("fake://trio", "redis://127.0.0.1:1", "embedded://"):
        tollhouse = open_at(url)

        async def work(tollhouse: Tollhouse = tollhouse) -> None:
            assert "on asyncio" in await refused(use, tollhouse)

        under_trio(work)


def test_a_loop_that_was_closed_is_not_mistaken_for_the_next(world_url: str) -> None:
    """A Tollhouse that outlived its loop is refused in the next one: its connections are dead there."""
    tollhouse = wiring.open(world_url)

    async def use() -> None:
        await tollhouse.limits.take("default", "ada")

    def in_new_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> object:
        with asyncio.Runner() as runner:
            return runner.run(work())

    in_new_loop(use)

    assert "one in each event loop" in str(in_new_loop(lambda: refused(USES["take"], tollhouse)))
    with pytest.raises(ConfigurationError):
        in_new_loop(tollhouse.aclose)


@pytest.fixture
def world_url() -> str:
    return "fake://outlived"
