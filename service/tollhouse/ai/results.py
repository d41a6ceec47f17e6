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

    async def answer(
        self,
        model: str,
        input: Any,  # noqa: A002 - the word of the API
        *,
        tenant: str,
        use_cache: bool = True,
        fresh: bool = False,
    ) -> CacheResult[Any]:
        """Return a model's output for an input: a Python value, or the `CanonicalJson` of one.

        With `fresh` the model runs whatever is stored, and its output is stored. Without `use_cache` it runs, and
        nothing is stored. Tenants never share results, so not even the response time shows what another tenant asked.
        Raises InvalidInput (of kind `unknown-model` if there is no such model), Overloaded, LoadTimeout or LoadFailed.
        """
        named, canonical = await self._checked(model, input, tenant)
        key = _key(tenant, named, canonical)
        return await self._cache.fetch(
            key,
            lambda: self._models.run(named, canonical.value),
            ttl_s=named.ttl_s,
            tags=(f"model:{model}",),
            family=f"ai:{model}",
            use_cache=use_cache,
            fresh=fresh,
        )

    async def stored(self, model: str, input: Any, *, tenant: str) -> CacheResult[Any] | None:  # noqa: A002 - the word of the API
        """Return the stored output for an input; None if none is stored. The model does not run."""
        named, canonical = await self._checked(model, input, tenant)
        return await self._cache.look_up(_key(tenant, named, canonical), family=f"ai:{model}")

    async def key(self, model: str, input: Any, *, tenant: str) -> str:  # noqa: A002 - the word of the API
        """Return the key of the output for an input; raises InvalidInput as `answer` does. The model does not run."""
        return _key(tenant, *await self._checked(model, input, tenant))

    async def _checked(self, model: str, value: Any, tenant: str) -> tuple[Model, CanonicalJson]:
        require_type("tenant", tenant, str, "give text")
        if not 1 <= len(tenant) <= _TENANT_CHARACTERS_MAX:
            raise InvalidInput("tenant", tenant, f"give 1 to {_TENANT_CHARACTERS_MAX} characters")
        named = self._models.find(model)
        canonical = value if isinstance(value, CanonicalJson) else await _canonical(value)
        named.check(canonical.value)
        return named, canonical


async def _canonical(value: Any) -> CanonicalJson:
    text = json_text(value)
    return await off_loop(text, canonicalize, value, text)


def _key(tenant: str, model: Model, canonical: CanonicalJson) -> str:
    """Return the key of everything that an output depends on; its digest is of JSON, so no value forges a separator."""
    input_hash = hashlib.sha256(canonical.text).hexdigest()
    whole = _ENCODER.encode([_KEY_VERSION, tenant, model.name, model.version, input_hash])
    return f"ai:{model.name}:{hashlib.sha256(whole).hexdigest()}"
