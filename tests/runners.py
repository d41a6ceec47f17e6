"""Runs coroutines elsewhere: in another event loop, or in none of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def in_another_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
    """Return what `work` returns in a loop of its own, in another thread."""
    return asyncio.to_thread(lambda: asyncio.run(work()))


def under_trio(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work`, which waits for nothing, with no event loop of asyncio: as under trio, which runs others."""
    coroutine = work()
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("it waits for an event loop")
