"""The end of a worker's start-up, in a process of its own."""

from __future__ import annotations

import gc
import subprocess
import sys

from tests.http.client import served_app, settings_at
from tollhouse import wiring

PROGRAM = """
import asyncio, gc
from tollhouse.app import WorkerConfig, create_worker
from tollhouse.settings import Settings

async def start():
    app, messages = create_worker(WorkerConfig(settings=Settings(url="fake://"), file=None)), []
    has_started, ends = asyncio.Event(), asyncio.Event()

    async def receive():
        if has_started.is_set():
            await ends.wait()
            return {"type": "lifespan.shutdown"}
        return {"type": "lifespan.startup"}

    async def send(message):
        messages.append(message["type"])
        has_started.set()

    before = gc.get_freeze_count()
    serving = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    await has_started.wait()
    print(messages[0], before, gc.get_freeze_count() > 10_000, gc.get_threshold()[0] >= 10_000)
    ends.set()
    await serving

asyncio.run(start())
"""


def test_a_worker_is_exempt_from_searches_for_garbage() -> None:
    """When a worker has started, what it has loaded is no part of later searches, which stop it under load."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["lifespan.startup.complete", "0", "True", "True"]


async def test_an_application_in_another_process_leaves_its_collector_alone() -> None:
    """`create_app` in a process that is not ours to tune, such as a run of tests, changes nothing of its collector."""
    before = gc.get_freeze_count(), gc.get_threshold()

    async with served_app(wiring.open(settings_at("fake://")))[0].lifespan():
        assert (gc.get_freeze_count(), gc.get_threshold()) == before
