"""Cache-Control in requests for AI results: what is stored, what is answered without the model, and what runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests import answers
from tests.http.client import ADMIN, SERVICE, Service, service_at
from tollhouse.settings.ai import AiSettings, ModelSettings
from tollhouse.testing import World

COUNT = AiSettings(models={"count": ModelSettings(call="tests.answers:count", version="1", ttl_s=600)})


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    answers.SEEN.clear()
    async with service_at(world.url, ai=COUNT) as service:
        yield service


async def ask(service: Service, *directives: str, query: str = "") -> Any:
    fields = [*SERVICE.items(), *(("Cache-Control", line) for line in directives)]
    return await service.ask("POST", f"/v1/ai/count{query}", json={"input": "q"}, headers=fields)


def told(response: Any) -> tuple[int, str, str]:
    """Return how often the model had run, and what the response says of the cache."""
    return response.json()["output"], response.headers["x-cache"], response.headers["cache-status"]


async def test_no_store_stores_nothing(service: Service) -> None:
    """The model runs, its output is not stored, and what is stored stays."""
    first = await ask(service, "no-store")
    await ask(service)
    third = await ask(service, "no-store")

    assert told(first) == (1, "BYPASS", "tollhouse; fwd=bypass")
    assert told(third) == (3, "BYPASS", "tollhouse; fwd=bypass")
    assert told(await ask(service))[:2] == (2, "HIT")


async def test_no_cache_loads_anew_and_stores(service: Service) -> None:
    """The model runs although its output is stored, and the new one takes its place."""
    await ask(service)
    anew = await ask(service, "no-cache")

    assert told(anew) == (2, "MISS", "tollhouse; fwd=request; stored")
    assert told(await ask(service))[:2] == (2, "HIT")


async def test_no_cache_needs_no_store(world: World, service: Service) -> None:
    """While the store is down the model runs, as without the directive."""
    with world.down("cache"):
        anew = await ask(service, "no-cache")

    assert told(anew)[:2] == (1, "BYPASS")


async def test_max_age_accepts_no_older_output(world: World, service: Service) -> None:
    """An output as old as that is served; an older one is loaded anew and stored."""
    await ask(service)
    world.advance(seconds=60)
    young = await ask(service, "max-age=60")
    world.advance(seconds=1)
    old = await ask(service, "max-age=60")

    assert (told(young)[:2], young.headers["age"]) == ((1, "HIT"), "60")
    assert told(old) == (2, "MISS", "tollhouse; fwd=request; stored")
    assert "age" not in old.headers
    assert told(await ask(service, "max-age=60"))[:2] == (2, "HIT")


async def test_min_fresh_accepts_no_output_that_ends_sooner(world: World, service: Service) -> None:
    """An output that lives shorter than that is loaded anew; one that never lives so long each time."""
    await ask(service)
    world.advance(seconds=100)
    lives = await ask(service, "min-fresh=400")
    ends = await ask(service, "min-fresh=501")
    never = [told(await ask(service, "min-fresh=601"))[0] for _ in range(2)]

    assert told(lives)[:2] == (1, "HIT")
    assert told(ends)[:2] == (2, "MISS")
    assert never == [3, 4]


#   directives, query, age of the stored output, whether it answers
ONLY_STORED: list[tuple[list[str], str, int, bool]] = [
    (["only-if-cached"], "", 60, True),
    (["only-if-cached, max-age=60"], "", 60, True),
    (["only-if-cached", "max-age=59"], "", 60, False),
    (["only-if-cached, min-fresh=600"], "", 60, False),
    (["only-if-cached, no-cache"], "", 60, False),
    (["only-if-cached, no-store"], "", 60, True),
    (["only-if-cached"], "?use_cache=false", 60, False),
    (["only-if-cached"], "", 601, False),
]


@pytest.mark.parametrize(("directives", "query", "age_s", "answers_it"), ONLY_STORED)
async def test_only_if_cached_never_runs_the_model(
    world: World, service: Service, directives: list[str], query: str, age_s: int, answers_it: bool
) -> None:
    """A stored output answers if the other directives accept it; else the answer is 504."""
    await ask(service)
    world.advance(seconds=age_s)

    response = await ask(service, *directives, query=query)

    assert answers.SEEN == ["q"]
    assert response.status_code == (200 if answers_it else 504)
    if not answers_it:
        assert response.json()["type"].endswith(":not-cached")
        assert response.headers["cache-status"] == "tollhouse; detail=only-if-cached"
    elif response.json()["output"] == 1:
        assert response.headers["x-cache"] == "HIT"


async def test_only_if_cached_is_504_before_anything_is_stored(world: World, service: Service) -> None:
    """With an empty store, with one that is down, and after an invalidation; the next request loads at once."""
    empty = await ask(service, "only-if-cached")
    with world.down("cache"):
        down = await ask(service, "only-if-cached")
    loaded = await ask(service)
    await service.ask("DELETE", "/v1/cache?tag=model:count", headers=ADMIN)
    invalidated = await ask(service, "only-if-cached")

    assert [response.status_code for response in (empty, down, invalidated)] == [504, 504, 504]
    assert told(loaded)[:2] == (1, "MISS")


async def test_every_field_line_counts_by_whole_words(service: Service) -> None:
    """`x-no-cacheable` means nothing, and the second of two lines as much as the first."""
    await ask(service)

    assert told(await ask(service, "x-no-cacheable"))[:2] == (1, "HIT")
    assert told(await ask(service, "max-age=600", "no-cache"))[:2] == (2, "MISS")
