"""Waits for takes of one caller that were submitted together: what `asyncio.gather` does, without a callback for each.

Takes that were submitted together are decided together, by a call or a few. So a caller that waits for the first one
finds the others decided, and to wait for them in order takes as long as to wait for all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tollhouse.limits.decision import Decision

Submitted = Sequence[Decision | asyncio.Future[Decision]]
"""Takes that are decided, and those that will be."""


async def decided(takes: Submitted) -> list[Decision]:
    """Return the decisions in the order of the takes; raise the first error of them.

    If the caller is cancelled, so are all takes: those that are not sent yet never are.
    """
    try:
        return [take if isinstance(take, Decision) else await take for take in takes]
    except asyncio.CancelledError:
        _cancel(takes)
        raise
    except BaseException:
        for future in _futures(takes):
            future.add_done_callback(_read_error)
        raise


def start_decided(takes: Submitted) -> asyncio.Task[list[Decision]]:
    """Start what `decided` does, for a caller that is no coroutine, and that owns the task."""
    task = asyncio.get_running_loop().create_task(decided(takes), name="tollhouse-together")

    def on_end(_: asyncio.Task[list[Decision]]) -> None:
        if task.cancelled():  # perhaps before its first step, and then it never entered `decided`
            _cancel(takes)

    task.add_done_callback(on_end)
    return task


def _cancel(takes: Submitted) -> None:
    for future in _futures(takes):
        future.cancel()
        future.add_done_callback(_read_error)


def _futures(takes: Submitted) -> list[asyncio.Future[Decision]]:
    return [take for take in takes if isinstance(take, asyncio.Future)]


def _read_error(future: asyncio.Future[Decision]) -> None:
    """Read an error of a take, because asyncio logs those that are never read."""
    if not future.cancelled():
        future.exception()
