"""Models: named functions that answer AI requests, run in a bounded pool so that they cannot block the service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from tollhouse.cache.ttl import CacheTTL
from tollhouse.errors import ConfigurationError, InvalidInput, LoadFailed, TollhouseError, require_type
from tollhouse.extras import pip_line
from tollhouse.suggest import one_of
from tollhouse.worker_pool import WorkerPool

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_VERSION_CHARACTERS_MAX: Final = 128
_NO_MODELS: Final = f"there are no models; {pip_line('tollhouse[demo]')} brings one, langid"


class Model(Struct, frozen=True, kw_only=True):
    """A function from a JSON value to a value that can be cached.

    `call` is a plain function, run in a thread, or a coroutine function. Change `version` whenever its outputs may
    change: results of another version are never returned. `check` raises InvalidInput for an input that `call` does
    not accept, before the cache is read.
    """

    name: str
    version: str
    call: Callable[[Any], Any]
    check: Callable[[Any], None] = lambda _: None
    ttl_s: int = CacheTTL.LONG.value


class Models:
    """The models by name, and the pool that they run in: at most `threads + queued` calls at a time."""

    def __init__(self, models: Iterable[Model] = (), *, threads: int = 4, queued: int = 64) -> None:
        self._models: dict[str, Model] = {}
        for model in models:
            self._add(model)
        self._pool = WorkerPool("the queue of the models", threads, queued=queued)

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
        """Return a model's output; raises Overloaded if the pool is full, and LoadFailed from the error of a model."""
        answer = asyncio.ensure_future(self._pool.run(model.call, value))
        try:
            await asyncio.wait([answer])
        finally:
            answer.cancel()
        error = answer.exception()
        if error is None:
            return answer.result()
        if isinstance(error, TollhouseError):
            raise error
        raise LoadFailed(f"model {model.name!r} failed: {type(error).__name__}") from error

    def close(self) -> None:
        """Refuse the calls that are queued; those that run end by themselves."""
        self._pool.close()

    def _add(self, model: Model) -> None:
        if _NAME.fullmatch(model.name) is None:
            raise ConfigurationError("model", model.name, "name it with a-z, 0-9, '_', '.' and '-', 64 at most")
        if not 1 <= len(model.version) <= _VERSION_CHARACTERS_MAX:
            remedy = f"give 1 to {_VERSION_CHARACTERS_MAX} characters"
            raise ConfigurationError(f"version of model {model.name!r}", model.version, remedy)
        if model.name in self._models:
            raise ConfigurationError("model", model.name, "give each model a name of its own")
        self._models[model.name] = model
