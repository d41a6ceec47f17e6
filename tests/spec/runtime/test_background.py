"""Background tasks end before their owner has closed, in a context of their own."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from tollhouse.runtime.background import BackgroundTasks

_request: ContextVar[str] = ContextVar("_request", default="none")


@pytest.mark.anyio
async def test_closing_waits_for_tasks_and_for_those_that_they_start() -> None:
    """Closing returns after the last task, also one that another task started while it waited."""
    tasks, done = BackgroundTasks(), list[str]()

    async def later(name: str) -> None:
        await asyncio.sleep(0)
        done.append(name)

    async def first() -> None:
        await later("first")
        tasks.start(later("second"), "test-second")

    tasks.start(first(), "test-first")
    await tasks.aclose()

    assert done == ["first", "second"]


@pytest.mark.anyio
async def test_a_task_sees_no_context_of_its_caller() -> None:
    """A task that outlives its request keeps nothing of the request's context alive."""
    tasks = BackgroundTasks()
    _request.set("request")

    async def read() -> str:
        return _request.get()

    assert await tasks.start(read(), "test-read") == "none"
