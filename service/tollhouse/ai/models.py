"""Models: named functions that answer AI requests, each in a bounded pool of its own, so that none can block others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.cache.ttl import CacheTTL
from tollhouse.errors import (
    ConfigurationError,
    InvalidInput,
    LoadFailed,
    LoadTimeout,
    TollhouseError,
    require_type,
)
from tollhouse.extras import pip_line
from tollhouse.runtime.functions import is_async
from tollhouse.settings.ai import MODEL_NAME, NAME_REMEDY, ModelSettings
from tollhouse.suggest import one_of
from tollhouse.worker_pool import WorkerPool

_BOUNDED: Final = ("version", "ttl_s", "timeout_ms", "threads", "queued")
"""What a model has in common with one of the settings, whose bounds hold for both."""
_NO_MODELS: Final = f"there are no models; {pip_line('tollhouse[demo]')} brings one, langid"


class Model(Struct, frozen=True, kw_only=True):
    """A function from a JSON value to a value that can be cached.

    `call` is a plain function, run in a thread, or an async one, or a function that returns an awaitable. Change
    `version` whenever its outputs may change: results of another version are never returned. `check` raises
    InvalidInput for an input that `call` does not accept, before the cache is read. An output is kept for `ttl_s`
    seconds at most, 1 to 30 days.

    A call takes at most `timeout_ms`, 100 to 600,000, its time in the queue included. At most `threads` calls, 1 to 64,
    run in threads at once, and `queued` more, 0 to 10,000, wait; of an async model as many as both together run.
    Models, and what is given models, raise ConfigurationError for a field that cannot be used, and name it.
    """

    name: str
    version: str
    call: Callable[[Any], Any]
    check: Callable[[Any], None] = lambda _: None
    ttl_s: int = CacheTTL.LONG.value
    timeout_ms: int = 30_000
    threads: int = 4
    queued: int = 64


class Models:
    """The models by name, each with a pool and a queue of its own: one that blocks holds up no other."""

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._models: dict[str, Model] = {}
        self._pools: dict[str, WorkerPool] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        for model in models:
            self._add(model)

    def names(self) -> tuple[str, ...]:
        """Return the names of all models, sorted."""
        return tuple(sorted(self._models))

    def find(self, name: str) -> Model:
        """Return the model of a name; raises InvalidInput of kind `unknown-model`, with the nearest name."""
        require_type("model", name, str, "name the model as text")
        model = self._models.get(name)
        if model is not None:
            return model
        remedy = one_of(name, self.names()) if self._models else _NO_MODELS
        raise InvalidInput("model", name, remedy, kind="unknown-model")

    async def run(self, model: Model, value: Any) -> Any:
        """Return a model's output.

        Raises Overloaded if the model's queue is full, or no thread was free in time; LoadTimeout if the model took
        longer than its `timeout_ms`; LoadFailed from any other error of the model, but an error of ours as it is. A
        call that has begun in a thread goes on without its caller, and keeps its place until it ends.
        """
        pool = self._pools[model.name]
        call = _Call(model.call)
        run = pool.run_on_loop if is_async(model.call) else pool.run
        answer = self._own(asyncio.create_task(run(call, value)))
        try:
            await asyncio.wait([answer], timeout=model.timeout_ms / 1000)
        finally:
            answer.cancel()
        if not answer.done():
            raise _too_late(model) if call.has_begun else pool.overloaded()
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
        if error is None:
            return answer.result()
        if isinstance(error, TollhouseError):
            raise error
        raise LoadFailed(f"model {model.name!r} failed: {type(error).__name__}") from error

    def close(self) -> None:
        """Refuse the calls that are queued; those that run end by themselves."""
        for pool in self._pools.values():
            pool.close()

    def _add(self, model: Model) -> None:
        if model.name in self._models:
            raise ConfigurationError("model", model.name, "give each model a name of its own")
        self._models[model.name] = checked = _checked(model)
        queue = f"the queue of model {model.name!r}"
        self._pools[model.name] = WorkerPool(queue, checked.threads, queued=checked.queued)

    def _own(self, call: asyncio.Task[Any]) -> asyncio.Task[Any]:
        """Keep a call until it ends: a model may go on for a while after it was cancelled."""
        self._calls.add(call)
        call.add_done_callback(self._forget)
        return call

    def _forget(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # its caller has it, or has left; the log needs no warning about it


class _Call:
    """A call of a model, which notes that it has begun: it has left the queue."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self.has_begun = False

    def __call__(self, value: Any) -> Any:
        self.has_begun = True
        return self._function(value)


def _checked(model: Model) -> Model:
    """Return a model whose name, functions and bounds can be used; raise ConfigurationError for another one."""
    if not isinstance(cast("object", model.name), str) or MODEL_NAME.fullmatch(model.name) is None:
        raise ConfigurationError("model", model.name, NAME_REMEDY)
    for name in ("call", "check"):
        if not callable(getattr(model, name)):
            raise ConfigurationError(f"{name} of model {model.name!r}", getattr(model, name), "give a function")
    try:
        bounds = ModelSettings(call="code:model", **{name: getattr(model, name) for name in _BOUNDED})
    except ConfigurationError as error:
        raise ConfigurationError(f"{error.setting} of model {model.name!r}", error.value, error.remedy) from error
    return replace(model, **{name: getattr(bounds, name) for name in _BOUNDED})


def _too_late(model: Model) -> LoadTimeout:
    return LoadTimeout(f"model {model.name!r} gave no output within {model.timeout_ms} ms")
