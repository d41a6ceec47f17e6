"""Outputs of models, from the cache if the same input was answered before."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.caches import open_cache, reads
from tests.worlds import World
from tollhouse.ai.canonical import CanonicalJson, parse
from tollhouse.ai.models import Model, Models
from tollhouse.ai.results import Results
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.result import CacheResult
from tollhouse.errors import InvalidInput, LoadFailed


class CountingModel:
    """A model that returns how often it was called, and records its inputs."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, value: Any) -> dict[str, Any]:
        self.seen.append(value)
        if value == "fail":
            raise RuntimeError(value)
        return {"times": len(self.seen)}


def only_short(value: Any) -> None:
    if value == "too long":
        raise InvalidInput("input", value, "send less")


class Desk:
    """Results over a cache, with a model that counts its calls."""

    def __init__(self, world: World) -> None:
        self.model = CountingModel()
        self.cache: Cache = open_cache(world)
        self.opened: list[Models] = []
        self.results = self.with_version("1")

    def with_version(self, version: str) -> Results:
        models = Models(
            [
                Model(name="m", version=version, call=self.model, check=only_short, ttl_s=600),
                Model(name="n", version=version, call=self.model),
            ]
        )
        self.opened.append(models)
        return Results(self.cache, models)

    async def ask(self, value: Any, model: str = "m", tenant: str = "public", **options: Any) -> CacheResult[Any]:
        return await self.results.answer(model, value, tenant=tenant, **options)


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    desk = Desk(world)
    yield desk
    for models in desk.opened:
        models.close()


async def test_identical_requests_are_answered_from_the_cache(world: World, desk: Desk):
    """S0-03, S2-05: the model runs once; the second result is the same, with its age and remaining lifetime."""
    first = await desk.ask({"text": "hello", "n": 1})
    await world.advance(10_000)
    second = await desk.ask({"n": 1.0, "text": "hello"})

    assert (first.value, first.status, first.age_ms, first.ttl_ms) == ({"times": 1}, "MISS", 0, 600_000)
    assert (second.value, second.status, second.age_ms, second.ttl_ms) == ({"times": 1}, "HIT", 10_000, 590_000)


@pytest.mark.parametrize("changed", [{"model": "n"}, {"tenant": "other"}, {"value": "else"}])
async def test_everything_that_a_result_depends_on_is_in_its_key(desk: Desk, changed: dict[str, Any]):
    """S2-18, S4-22: another model, tenant or input is another key."""
    question: dict[str, Any] = {"value": "hello", "model": "m", "tenant": "public"}
    await desk.ask(**question)

    assert (await desk.ask(**question | changed)).status == "MISS"


async def test_a_new_version_of_a_model_runs_again(desk: Desk):
    """Results of another version of the model are never returned."""
    await desk.ask("hello")
    desk.results = desk.with_version("2")

    assert (await desk.ask("hello")).status == "MISS"


async def test_results_live_for_an_hour_unless_the_model_says(desk: Desk):
    """S2-17: the default lifetime of AI results is 1 h."""
    assert (await desk.ask("hello", model="n")).ttl_ms == 3_600_000


async def test_json_text_and_its_value_are_one_input(desk: Desk):
    """An input in canonical form has the same key as the Python value; the model sees the canonical value."""
    await desk.ask(parse(b'{"b": 1.0, "a": 2}'))

    assert (await desk.ask({"a": 2, "b": 1})).status == "HIT"
    assert repr(desk.model.seen[0]["b"]) == "1"


async def test_a_canonical_input_is_not_canonicalized_again(desk: Desk):
    """The key comes from the text of a canonical input; its value goes to the model untouched."""
    value = {"a number that would be rewritten": 1.0}
    await desk.ask(CanonicalJson(value=value, text=b"7"))

    assert (await desk.ask(7)).status == "HIT"
    assert desk.model.seen[0] is value


async def test_the_cache_can_be_bypassed(desk: Desk):
    """S4-49: use_cache=False runs the model, and leaves the stored result alone."""
    await desk.ask("hello")

    past = await desk.ask("hello", use_cache=False)

    assert (past.value, past.status) == ({"times": 2}, "BYPASS")
    assert (await desk.ask("hello")).value == {"times": 1}


async def test_one_tag_removes_all_results_of_a_model(desk: Desk):
    """S0-31, S4-36: invalidating its tag removes all results of a model, and none of another."""
    await desk.ask("hello", model="m")
    await desk.ask("hello", model="n")

    await desk.cache.invalidate_tags("model:m")

    assert (await desk.ask("hello", model="m")).status == "MISS"
    assert (await desk.ask("hello", model="n")).status == "HIT"


async def test_results_have_the_key_of_their_model_and_input(world: World, desk: Desk):
    """S2-18, S4-59: the key is `ai:{model}:{input_hash}`; of it only `ai` can be read on the server."""
    await desk.ask("a secret question")

    names = [name async for name in _names(world)]
    assert any(re.fullmatch(r"tollhouse:ai:\{0\}:[0-9a-f]{20}:[0-9a-f]{20}", name) for name in names)
    assert not any("secret" in name for name in names)
    assert reads(world.metrics, "ai:m", "miss") == 1
    assert [await desk.cache.delete_pattern(pattern) for pattern in ("ai:n:*", "ai:m:*")] == [0, 1]


async def _names(world: World) -> AsyncIterator[str]:
    for name in await world.command("cache", "KEYS", "*"):
        yield name.decode()


async def test_a_failing_model_is_not_remembered(desk: Desk):
    """A failure is not cached: the next request runs the model again."""
    for _ in range(2):
        with pytest.raises(LoadFailed):
            await desk.ask("fail")

    assert desk.model.seen == ["fail", "fail"]


async def test_an_input_that_a_model_cannot_take_is_refused_first(desk: Desk):
    """The model's own check comes before the cache and the model."""
    with pytest.raises(InvalidInput) as refused:
        await desk.ask("too long")

    assert refused.value.remedy == "send less"
    assert desk.model.seen == []


async def test_an_unknown_model_is_refused(desk: Desk):
    """The kind of the error is unknown-model."""
    with pytest.raises(InvalidInput) as raised:
        await desk.ask("hello", model="x")

    assert raised.value.kind == "unknown-model"


@pytest.mark.parametrize("tenant", ["", "t" * 257])
async def test_a_tenant_is_always_named(desk: Desk, tenant: str):
    """A tenant is required, so that sharing results is a choice."""
    with pytest.raises(InvalidInput) as refused:
        await desk.ask("hello", tenant=tenant)

    assert refused.value.field == "tenant"


async def test_the_longest_names_fit(world: World):
    """A model name of 64 characters, the longest tenant and the longest input work."""
    name = "m" * 64
    models = Models([Model(name=name, version="v" * 128, call=len)])
    results = Results(open_cache(world), models)

    result = await results.answer(name, "x" * 100_000, tenant="\u00e9" * 256)
    models.close()

    assert (result.value, result.status) == (100_000, "MISS")


async def test_identical_inputs_at_the_same_time_run_the_model_once(desk: Desk):
    """P7: fifty concurrent callers cost one run of the model."""
    answers = await asyncio.gather(*(desk.ask("hello") for _ in range(50)))

    assert {answer.value["times"] for answer in answers} == {1}
    assert len(desk.model.seen) == 1


async def test_a_fresh_result_takes_the_place_of_the_stored_one(desk: Desk):
    """With `fresh` the model runs although its output is stored, and the new output is stored."""
    await desk.ask("hello")

    fresh = await desk.ask("hello", fresh=True)

    assert (fresh.value, fresh.status) == ({"times": 2}, "MISS")
    assert ((await desk.ask("hello")).value, len(desk.model.seen)) == ({"times": 2}, 2)


async def test_what_is_stored_can_be_asked_for_without_the_model(desk: Desk):
    """The output of the same input, tenant and version, or None; the input is checked all the same."""
    before = await desk.results.stored("m", "hello", tenant="public")
    await desk.ask("hello")
    after = await desk.results.stored("m", "hello", tenant="public")

    assert before is None
    assert after is not None
    assert (after.value, after.status, desk.model.seen) == ({"times": 1}, "HIT", ["hello"])
    assert await desk.results.stored("m", "hello", tenant="other") is None
    with pytest.raises(InvalidInput):
        await desk.results.stored("m", "too long", tenant="public")
