"""The cache of one function: the key of a call, its read, and its invalidation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from msgspec.structs import replace

from tollhouse.cache.key_names import check_key
from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.ttl import lifetime_ms
from tollhouse.caching.arguments import Arguments
from tollhouse.caching.canonical import canonical
from tollhouse.caching.returned import Form, OtherType, PackedForm, form_of
from tollhouse.caching.target import CacheSource
from tollhouse.caching.templates import Templates
from tollhouse.errors import ConfigurationError, InvalidInput, LoadFailed
from tollhouse.runtime.functions import place_of
from tollhouse.wiring.current import ANSWERED_INPUT

Load = Callable[[], Awaitable[Any]]
Args = Sequence[Any]
Kwargs = Mapping[str, Any]

_WORD_MAX: Final = 32
_PREFIX: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}(?::[^:*{}]+)*")
"""What patterns can match: a readable word, and further words that are no pattern themselves, nor a template."""
_LOADED_BEFORE: Final = frozenset({"HIT", "COALESCED"})


class FunctionCache:
    """The entries of one function, by its arguments.

    The key of a call is `{key}:{digest}`: the digest is of the function's place and version, and of the arguments. So
    two functions share no entry, whatever their `key`. If `key` is a function of the arguments, what it returns is the
    key, and functions that return the same share the entry.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        ttl_s: int | None,
        key: str | Callable[..., Any] | None,
        tags: Iterable[str] | Callable[[Any], Iterable[str]],
        version: int | str,
        ignore: Iterable[str],
        source: CacheSource,
    ) -> None:
        self.arguments = Arguments(function, ignore)
        self.place = self.arguments.place
        self.source = source
        self.load: Callable[..., Awaitable[Any]] = function
        """Calls the function in the running event loop."""
        self.tag = _tag_of(self.place)
        self._ttl_s = _checked_ttl(source.stored_as.ttl_s if ttl_s is None else ttl_s)
        self._key = _checked_key(key, function)
        self._version = version
        self._context = canonical((self.place, version))
        self._tags_of_value = tags if callable(tags) else None
        self._tags = Templates("tags", () if callable(tags) else tags, self.arguments)

    @cached_property
    def form(self) -> Form:
        """The form of values; its annotation may name a class that is defined after the function."""
        form, serializers = form_of(self.arguments.code), self.source.stored_as.serializers
        return PackedForm(form, serializers) if serializers else form

    def key(self, args: Args, kwargs: Kwargs) -> str:
        """Return the key of a call; of a method, the instance is its first argument."""
        bound = self.arguments.bind(args, kwargs)
        self.arguments.check_instance(bound)
        return self._key_of(bound, args, kwargs)

    async def read(self, load: Load, args: Args, kwargs: Kwargs) -> Any:
        """Return the value of a call: the stored one, or that of `load`."""
        bound = self.arguments.bind(args, kwargs)
        return (await self._read(load, self._key_of(bound, args, kwargs), bound, fresh=False)).value

    async def fetch(self, load: Load, args: Args, kwargs: Kwargs, *, fresh: bool = False) -> CacheResult[Any]:
        """Return the value of a call with its source; that of `load` if it has to be `fresh`.

        Of a method, the instance is the first argument.
        """
        bound = self.arguments.bind(args, kwargs)
        self.arguments.check_instance(bound)
        return await self._read(load, self._key_of(bound, args, kwargs), bound, fresh=fresh)

    async def invalidate(self, args: Args, kwargs: Kwargs) -> bool:
        """Remove the value of a call; return whether there was one."""
        key = self.key(args, kwargs)
        return await (await self.source.cache()).invalidate(key)

    async def _read(self, load: Load, key: str, bound: Mapping[str, Any], *, fresh: bool) -> CacheResult[Any]:
        result = await self._fetch(load, key, bound, fresh=fresh)
        try:
            value = self.form.returned(result.value)
        except OtherType as error:
            if fresh or result.status not in _LOADED_BEFORE:
                raise LoadFailed(f"what {self.place} returned cannot be read as its annotated type") from error
        else:
            return result if value is result.value else replace(result, value=value)
        return await self._read(load, key, bound, fresh=True)

    async def _fetch(self, load: Load, key: str, bound: Mapping[str, Any], *, fresh: bool) -> CacheResult[Any]:
        form, of_value = self.form, self._tags_of_value
        with ANSWERED_INPUT:
            own_tags = (*self._tags.filled(bound), self.tag)

        async def stored() -> Any:
            return form.stored(await load())

        def tags(value: Any) -> Iterable[str]:
            assert of_value is not None
            return (*of_value(form.returned(value)), self.tag)

        return await (await self.source.cache()).fetch(
            key,
            stored,
            ttl_s=self._ttl_s,
            tags=own_tags if of_value is None else tags,
            type=form.type,
            codec=self.source.stored_as.codec,
            fresh=fresh,
            use_cache=not self.arguments.is_bypassed(bound),
        )

    def _key_of(self, bound: Mapping[str, Any], args: Args, kwargs: Kwargs) -> str:
        with ANSWERED_INPUT:
            if not callable(self._key):
                return f"{self._key}:{self.arguments.digest(bound, self._context)}"
            key = self._key(*args, **self.arguments.of_result(kwargs))
            if not isinstance(key, str):
                raise InvalidInput("key", type(key).__name__, "the function that is the key has to return text")
            check_key(key)
            if self._version != 1:
                key = f"{key}:version-{self._version}"
                check_key(key)
            return key


def _tag_of(place: str) -> str:
    """Return the tag of all entries of a function; no tag of an application begins like it."""
    return f"\0function {hashlib.blake2b(place.encode(), digest_size=16).hexdigest()}"


def _checked_ttl(ttl_s: int | None) -> int:
    try:
        lifetime_ms(cast("int", ttl_s))
    except InvalidInput as error:
        raise ConfigurationError("ttl", ttl_s, error.remedy) from error
    return int(cast("int", ttl_s))


def _checked_key(key: str | Callable[..., Any] | None, function: Callable[..., Any]) -> str | Callable[..., Any]:
    """Return the first words of keys, or the function that makes them."""
    if key is None:
        name = place_of(function).rpartition(".")[2]
        if name == "<lambda>":
            raise ConfigurationError("key", place_of(function), "a lambda has no name of its own; give it a key")
        return _word(name)
    if callable(key):
        if iscoroutinefunction(key):
            raise ConfigurationError("key", place_of(key), "give a function that is not async")
        return key
    if not isinstance(cast("object", key), str) or not _PREFIX.fullmatch(key):
        remedy = (
            "give words such as 'model:metrics', the first of a-z, 0-9, '_' and '-', or for a whole key a function of "
            'the arguments, such as lambda number: f"user:{number}"'
        )
        raise ConfigurationError("key", key, remedy)
    return key


def _word(name: str) -> str:
    """Return a function's name as the first word of keys, which stays readable in the store and in statistics."""
    plain = re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("0123456789_-")
    return plain[:_WORD_MAX] or "function"
