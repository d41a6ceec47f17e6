"""The models that answer AI requests."""

from __future__ import annotations

import asyncio
import importlib.metadata
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from msgspec import structs

from tollhouse.ai.langid import TEXT_CHARACTERS_MAX, langid
from tollhouse.ai.models import Model, Models
from tollhouse.errors import ConfigurationError, InvalidInput, LoadFailed, LoadTimeout, Overloaded

PATIENCE_S = 10


def model(call: Any, name: str = "m", **options: Any) -> Model:
    return Model(name=name, version="1", call=call, **options)


@pytest.fixture
def opened() -> Iterator[list[Models]]:
    models: list[Models] = []
    yield models
    for each in models:
        each.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of event loops on."""
    ahead_s = [0.0]
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda _: time.monotonic() + ahead_s[0])

    def move(seconds: float) -> None:
        ahead_s[0] += seconds

    return move


async def test_a_function_runs_in_a_thread(opened: list[Models]):
    """A plain function does not hold up the event loop."""
    opened.append(models := Models([model(lambda value: (value, threading.current_thread().name))]))

    value, thread = await models.run(models.find("m"), 1)

    assert value == 1
    assert thread.startswith("tollhouse-worker")


async def test_a_coroutine_function_runs_on_the_loop(opened: list[Models]):
    """A model that waits for others needs no thread."""

    async def call(value: int) -> int:
        await asyncio.sleep(0)
        assert threading.current_thread() is threading.main_thread()
        return value + 1

    opened.append(models := Models([model(call)]))

    assert await models.run(models.find("m"), 1) == 2


async def test_a_model_that_fails_is_a_failed_load(opened: list[Models]):
    """An error of a model becomes LoadFailed, with its cause and without the input."""

    def fail(value: str) -> None:
        raise RuntimeError(f"cannot {value}")

    async def fail_later(value: str) -> None:
        fail(value)

    opened.append(models := Models([model(fail, "a"), model(fail_later, "b")]))

    for name in models.names():
        with pytest.raises(LoadFailed) as raised:
            await models.run(models.find(name), "secret")
        assert isinstance(raised.value.__cause__, RuntimeError)
        assert name in str(raised.value)
        assert "secret" not in str(raised.value)


async def test_a_model_may_refuse_its_input(opened: list[Models]):
    """An error of ours passes through as it is."""

    def refuse(value: Any) -> None:
        raise InvalidInput("input", value, "send something else")

    opened.append(models := Models([model(refuse)]))

    with pytest.raises(InvalidInput) as refused:
        await models.run(models.find("m"), 1)

    assert refused.value.remedy == "send something else"


async def test_a_call_beyond_the_queue_is_refused_at_once(opened: list[Models]):
    """P10: at most threads + queued calls run or wait; the next is Overloaded, and later ones fit again."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def call(value: int) -> int:
        begun.release()
        gate.wait()
        return value

    opened.append(models := Models([model(call, threads=1, queued=1)]))
    m = models.find("m")
    tasks = [asyncio.create_task(models.run(m, number)) for number in range(2)]
    await asyncio.to_thread(begun.acquire)

    with pytest.raises(Overloaded) as refused:
        await models.run(m, 3)
    assert refused.value.what == "the queue of model 'm'"
    gate.set()

    assert await asyncio.gather(*tasks) == [0, 1]
    assert await models.run(m, 4) == 4


async def test_a_caller_that_leaves_frees_its_place_in_the_queue(opened: list[Models]):
    """A call that is cancelled before a thread took it never runs; one that runs keeps its place until it ends."""
    gate, begun, seen = threading.Event(), threading.Semaphore(0), list[int]()

    def call(value: int) -> int:
        seen.append(value)
        begun.release()
        gate.wait()
        return value

    opened.append(models := Models([model(call, threads=1, queued=1)]))
    m = models.find("m")
    running, waiting = (asyncio.create_task(models.run(m, number)) for number in range(2))
    await asyncio.to_thread(begun.acquire)

    waiting.cancel()
    await asyncio.wait([waiting])
    third = asyncio.create_task(models.run(m, 2))
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises(Overloaded):
        await models.run(m, 3)
    gate.set()

    assert await third == 2
    assert seen == [0, 2]


async def test_a_model_that_blocks_holds_up_no_other(opened: list[Models]):
    """Each model has a pool and a queue of its own."""
    gate = threading.Event()
    blocked = model(lambda _: gate.wait(), "blocked", threads=1, queued=0)
    opened.append(models := Models([blocked, model(lambda value: value, "quick", threads=1, queued=0)]))
    waiting = [asyncio.create_task(models.run(blocked, number)) for number in range(70)]
    await asyncio.sleep(0)

    assert await models.run(models.find("quick"), 1) == 1

    gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [bool] + [Overloaded] * 69


async def test_a_call_that_takes_too_long_is_a_timeout(opened: list[Models], later: Callable[[float], None]):
    """After `timeout_ms` the caller has LoadTimeout, a LoadFailed; the call keeps its place until it really ends."""
    gate, begun = threading.Event(), threading.Event()

    def call(_: int) -> None:
        begun.set()
        gate.wait()

    opened.append(models := Models([model(call, threads=1, queued=0, timeout_ms=30_000)]))
    m = models.find("m")
    running = asyncio.create_task(models.run(m, 1))
    await asyncio.to_thread(begun.wait)

    later(31)
    with pytest.raises(LoadTimeout) as late:
        await running

    assert "30000 ms" in str(late.value)
    with pytest.raises(Overloaded):
        await models.run(m, 2)
    gate.set()


async def test_a_call_that_no_thread_took_in_time_is_an_overload(opened: list[Models], later: Callable[[float], None]):
    """Nothing was done for it: it has left the queue, and may come again."""
    gate, begun, seen = threading.Event(), threading.Event(), list[int]()

    def call(value: int) -> None:
        seen.append(value)
        begun.set()
        gate.wait()

    opened.append(models := Models([model(call, threads=1, queued=1, timeout_ms=30_000)]))
    m = models.find("m")
    running = asyncio.create_task(models.run(m, 1))
    await asyncio.to_thread(begun.wait)
    waiting = asyncio.create_task(models.run(m, 2))
    await asyncio.sleep(0)

    later(31)
    answers = await asyncio.gather(running, waiting, return_exceptions=True)
    gate.set()

    assert [type(answer) for answer in answers] == [LoadTimeout, Overloaded]
    assert seen == [1]


async def test_an_async_model_that_takes_too_long_is_cancelled(opened: list[Models], later: Callable[[float], None]):
    """It is LoadTimeout for its caller also if the model does not end then; its place is taken until it does."""
    ended, release = list[str](), asyncio.Event()

    async def call(value: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(value)
            if value == "stubborn":
                await release.wait()

    opened.append(models := Models([model(call, threads=1, queued=0)]))
    m = models.find("m")
    for value in ("obedient", "stubborn"):
        running = asyncio.create_task(models.run(m, value))
        await asyncio.sleep(0)
        later(31)
        with pytest.raises(LoadTimeout):
            await running
        await asyncio.sleep(0)

    assert ended == ["obedient", "stubborn"]
    with pytest.raises(Overloaded):
        await models.run(m, "next")
    release.set()


class AsyncCallable:
    async def __call__(self, value: int) -> tuple[int, bool]:
        await asyncio.sleep(0)
        return value, threading.current_thread() is threading.main_thread()


def awaitable_of(value: int) -> Any:
    return AsyncCallable()(value)


@pytest.mark.parametrize(
    "call",
    [AsyncCallable(), AsyncCallable().__call__, partial(AsyncCallable()), awaitable_of, partial(awaitable_of)],
    ids=["object", "method", "partial", "function", "partial-function"],
)
async def test_a_model_that_gives_an_awaitable_is_awaited(opened: list[Models], call: Any):
    """Async callables, and functions that return an awaitable, give their result, on the loop."""
    opened.append(models := Models([model(call)]))

    assert await models.run(models.find("m"), 7) == (7, True)


async def no_arguments() -> None:
    raise AssertionError


@pytest.mark.parametrize("call", [no_arguments, partial(no_arguments, 1), lambda: None, AsyncCallable.__call__])
async def test_a_call_that_raises_before_it_runs_keeps_no_place(opened: list[Models], call: Any):
    """A model with another signature fails each time, however often it is called."""
    opened.append(models := Models([model(call, threads=1, queued=0)]))

    for _ in range(3):
        with pytest.raises(LoadFailed) as failed:
            await models.run(models.find("m"), 1)
        assert isinstance(failed.value.__cause__, TypeError)


@pytest.mark.parametrize("error", [StopIteration, asyncio.CancelledError, SystemExit])
async def test_a_model_ends_nothing_but_its_call(opened: list[Models], error: type[BaseException]):
    """What means more than an error to a loop is LoadFailed, from plain and from async models."""

    def fail(_: int) -> None:
        raise error

    async def fail_later(_: int) -> None:
        raise error

    opened.append(models := Models([model(fail, "a"), model(fail_later, "b")]))

    async with asyncio.timeout(PATIENCE_S):
        for name in models.names():
            with pytest.raises(LoadFailed) as failed:
                await models.run(models.find(name), 1)
            assert failed.value.__cause__ is not None


def test_an_unknown_model_is_named_with_the_nearest(opened: list[Models]):
    """The error's kind is unknown-model, and its remedy is the nearest name, or all names, or how to get a model."""
    opened.append(models := Models([model(len, "langid"), model(len, "summary")]))
    opened.append(none := Models())

    remedies = []
    for among, name in ((models, "langd"), (models, "zzz"), (none, "zzz")):
        with pytest.raises(InvalidInput) as unknown:
            among.find(name)
        assert (unknown.value.field, unknown.value.kind) == ("model", "unknown-model")
        remedies.append(unknown.value.remedy)

    assert "'langid'" in remedies[0]
    assert "langid, summary" in remedies[1]
    assert "pip install" in remedies[2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("call", 5),
        ("check", "text"),
        ("ttl_s", 0),
        ("ttl_s", "5m"),
        ("timeout_ms", 0),
        ("threads", 0),
        ("queued", -1),
        ("version", "v" * 129),
    ],
)
def test_a_model_that_code_gives_has_the_bounds_of_the_settings(field: str, value: Any):
    """ConfigurationError names the field and the model when it is given: a request is never blamed for it."""
    with pytest.raises(ConfigurationError) as refused:
        Models([Model(**{"name": "m", "version": "1", "call": len} | {field: value})])

    assert refused.value.setting == f"{field} of model 'm'"


@pytest.mark.parametrize(
    "wrong",
    [
        [Model(name="Upper", version="1", call=len)],
        [Model(name="m" * 65, version="1", call=len)],
        [Model(name="m", version="", call=len)],
        [Model(name="m", version="1", call=len), Model(name="m", version="2", call=len)],
    ],
)
def test_models_that_cannot_be_told_apart_are_refused(wrong: list[Model]):
    """A name is a lower-case word, a version is not empty, and no name comes twice."""
    with pytest.raises(ConfigurationError):
        Models(wrong)


async def test_langid_names_the_language(opened: list[Models]):
    """S0-01: a real model runs in this process, with a probability from 0 to 1."""
    found = langid()
    assert found is not None
    opened.append(models := Models([found]))

    answers = await asyncio.gather(
        *(models.run(found, text) for text in ("Wo ist der Bahnhof?", "Where is the station?", "Où est la gare ?"))
    )

    assert [answer["language"] for answer in answers] == ["de", "en", "fr"]
    assert all(0 < answer["probability"] <= 1 for answer in answers)
    assert all(type(answer["probability"]) is float for answer in answers)


async def test_langid_is_loaded_once_by_many_threads(opened: list[Models]):
    """The first use is safe from several threads at a time; an empty text is no error."""
    found = langid()
    assert found is not None
    opened.append(models := Models([structs.replace(found, threads=8)]))

    answers = await asyncio.gather(*(models.run(found, "") for _ in range(16)))

    assert len({(answer["language"], answer["probability"]) for answer in answers}) == 1


@pytest.mark.parametrize("value", [1, None, ["text"], {"text": "a"}, "a" * (TEXT_CHARACTERS_MAX + 1)])
def test_langid_takes_a_text(value: Any):
    """Any other input is refused before the cache is read."""
    found = langid()
    assert found is not None

    found.check("a text")
    with pytest.raises(InvalidInput) as refused:
        found.check(value)

    assert refused.value.field == "input"


def test_langid_is_an_extra():
    """Without py3langid there is no such model, and nothing else is missing."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    assert langid(missing) is None
