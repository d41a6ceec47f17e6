"""Background tasks: work that goes on when its caller is cancelled, and that has an owner all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundTasks:
    """Owns the tasks of one object. Each has to bound its own time: `aclose` waits for all of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task, in a context of its own: it may outlive the request that it began in."""
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Wait for the tasks in progress, and for those that they start."""
        while self._tasks:
            await asyncio.wait(self._tasks)
