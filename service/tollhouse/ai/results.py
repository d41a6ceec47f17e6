"""Answers of models, from the cache where the same was asked before: by the same tenant, of the same version."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from msgspec import Struct

from tollhouse.ai.canonical import Canonical, canonicalize, parse
from tollhouse.ai.models import Model, Models
from tollhouse.cache.cache import Cache
from tollhouse.cache.loader import Result
from tollhouse.errors import InvalidInput

_KEY_VERSION: Final = 1
_TENANT_CHARACTERS_MAX: Final = 256
_ENCODER: Final = msgspec.json.Encoder()


class Answered(Struct, frozen=True, kw_only=True):
    """What a model said, and where the answer came from: see `cache.reading.Found`."""

    output: Any
    result: Result
    age_ms: int
    ttl_ms: int


class Results:
    """Asks models through the cache."""

    def __init__(self, cache: Cache, models: Models) -> None:
        self._cache = cache
        self._models = models

    async def answer(self, model: str, input: Any, *, tenant: str, use_cache: bool = True) -> Answered:  # noqa: A002 - the word of the API
        """Give a model's output for an input: a Python value, or JSON text as `msgspec.Raw`.

        Tenants never see each other's results, not even by how fast they come. Raises InvalidInput (of kind
        `unknown-model` where the name is wrong), Overloaded, or LoadFailed.
        """
        if not 1 <= len(tenant) <= _TENANT_CHARACTERS_MAX:
            raise InvalidInput("tenant", tenant, f"give 1 to {_TENANT_CHARACTERS_MAX} characters")
        found_model = self._models.find(model)
        asked = parse(input) if isinstance(input, msgspec.Raw) else canonicalize(input)
        found_model.check(asked.value)
        found = await self._cache.fetch(
            _key(tenant, found_model, asked),
            lambda: self._models.run(found_model, asked.value),
            ttl_s=found_model.ttl_s,
            tags=(f"model:{model}",),
            family=f"ai:{model}",
            use_cache=use_cache,
        )
        return Answered(output=found.value, result=found.result, age_ms=found.age_ms, ttl_ms=found.ttl_ms)


def _key(tenant: str, model: Model, asked: Canonical) -> str:
    """Write all that an answer depends on, without a separator that a word could forge."""
    input_hash = hashlib.sha256(asked.text).hexdigest()
    whole = _ENCODER.encode([_KEY_VERSION, tenant, model.name, model.version, input_hash])
    return hashlib.sha256(whole).hexdigest()
