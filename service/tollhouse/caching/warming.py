"""Warming of the results of a function: which calls they are, and their reads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tollhouse.cache.reading.read_many import ManyOutcome
from tollhouse.cache.warming.bounded import Items, Positions, in_portions, warm_items
from tollhouse.cache.warming.key_list import not_stored
from tollhouse.cache.warming.report import WarmReport
from tollhouse.caching.function_cache import FunctionCache
from tollhouse.errors import InvalidInput


async def warm_calls(own: FunctionCache, calls: Items[Any], at_once: int) -> WarmReport:
    """Cache the results of these calls of a function, unless they are cached."""
    if isinstance(cast("object", calls), str | bytes | Mapping):
        raise InvalidInput("calls", type(cast("object", calls)).__name__, "give a list of calls, as in [(1, 2), 3]")

    async def warm(portion: list[tuple[int, Any]]) -> Positions:
        return [(position, await outcome_of_call(own, call)) for position, call in portion]

    return await warm_items(in_portions(calls, 1), warm, at_once)


async def outcome_of_call(own: FunctionCache, call: Any) -> ManyOutcome:
    """Return the outcome of one read; nothing is computed while nothing can be stored."""
    if not (await own.source.cache()).is_available:
        return not_stored()
    args, kwargs = arguments_of(call)
    read = own.fetch(lambda: own.load(*args, **kwargs), args, kwargs)
    (outcome,) = await asyncio.gather(read, return_exceptions=True)
    return outcome


def arguments_of(call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call: in a tuple or list, or by name in a mapping, or the only one."""
    if isinstance(call, Mapping):
        return (), dict(cast("Mapping[str, Any]", call))
    if isinstance(call, list | tuple):
        return tuple(cast("Sequence[Any]", call)), {}
    return (call,), {}
