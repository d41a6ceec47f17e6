"""What the first call starts in the background, and the context variables of its caller."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar

from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse

_PATIENCE_S = 10
_REQUEST: ContextVar[object] = ContextVar("request")


class Request:
    """What a caller keeps in a context variable."""


async def first_calls(tollhouse: Tollhouse) -> weakref.ref[Request]:
    """Use the stores of limits, sessions and results for the first time, with a context variable set."""
    request = Request()
    _REQUEST.set(request)
    await asyncio.gather(*(tollhouse.limits.take("default", key) for key in ("ada", "bob")))
    await tollhouse.sessions.create(user="ada")
    await tollhouse.cache.invalidate("key")
    return weakref.ref(request)


async def test_connections_keep_no_context_variables_of_the_first_request(world: StoreWorld) -> None:
    """What a caller has in context variables is free when it ends, although its call opened the connections."""
    async with wiring.open(Settings(url=world.url, secret=(b"s" * 32,))) as tollhouse:
        kept = await asyncio.create_task(first_calls(tollhouse))
        async with asyncio.timeout(_PATIENCE_S):
            while kept() is not None:  # deadlines that were cancelled stay in the event loop until their time
                gc.collect()
                await asyncio.sleep(0.05)

        assert (await tollhouse.limits.take("default", "ada")).allowed
