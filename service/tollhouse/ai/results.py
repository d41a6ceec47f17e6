"""Model outputs through the cache: keyed by tenant, model, version and canonical input."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from tollhouse.ai.canonical import CanonicalJson, canonicalize, json_text, off_loop
from tollhouse.ai.models import Model, Models
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.result import CacheResult
from tollhouse.errors import InvalidInput, require_type

_KEY_VERSION: Final = 1
_TENANT_CHARACTERS_MAX: Final = 256
_ENCODER: Final = msgspec.json.Encoder()


class Results:
    """Runs models through the cache."""

    def __init__(self, cache: Cache, models: Models) -> None:
        self._cache = cache
        self._models = models

    async def answer(self, model: str, input: Any, *, tenant: str, use_cache: bool = True) -> CacheResult[Any]:  # noqa: A002 - the word of the API
        """Return a model's output for an input: a Python value, or the `CanonicalJson` of one.

        Tenants never share results, so not even the response time shows what another tenant asked. Raises InvalidInput
        (of kind `unknown-model` if there is no such model), Overloaded, or LoadFailed.
        """
        require_type("tenant", tenant, str, "give text")
        if not 1 <= len(tenant) <= _TENANT_CHARACTERS_MAX:
            raise InvalidInput("tenant", tenant, f"give 1 to {_TENANT_CHARACTERS_MAX} characters")
        named = self._models.find(model)
        canonical = input if isinstance(input, CanonicalJson) else await _canonical(input)
        named.check(canonical.value)
        return await self._cache.fetch(
            f"ai:{model}:{_input_hash(tenant, named, canonical)}",
            lambda: self._models.run(named, canonical.value),
            ttl_s=named.ttl_s,
            tags=(f"model:{model}",),
            family=f"ai:{model}",
            use_cache=use_cache,
        )


async def _canonical(value: Any) -> CanonicalJson:
    text = json_text(value)
    return await off_loop(text, canonicalize, value, text)


def _input_hash(tenant: str, model: Model, canonical: CanonicalJson) -> str:
    """Return the digest of everything that an output depends on; it is JSON, so no value can forge a separator."""
    input_hash = hashlib.sha256(canonical.text).hexdigest()
    whole = _ENCODER.encode([_KEY_VERSION, tenant, model.name, model.version, input_hash])
    return hashlib.sha256(whole).hexdigest()
