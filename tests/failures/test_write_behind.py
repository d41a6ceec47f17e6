"""Write-behind with a process that is killed while it applies a write (S4-65, S2-09)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

import tollhouse
from tests.failures.own_server import own_server
from tests.processes import PATIENCE_S
from tollhouse.cache.writing.consumer import QueuedWrite

LEASE_MS = 400
CONSUMER = """
import asyncio, sys, tollhouse
from pathlib import Path

async def apply(write):
    with Path(sys.argv[2]).open("a") as file:
        print(write.value, write.attempt, file=file)
    if write.value == "second":
        await asyncio.Event().wait()

async def main():
    async with tollhouse.open(sys.argv[1]) as th, th.cache.write_behind("rows", apply, lease_ms=400):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("appendonly", ["no"])
async def test_what_a_killed_process_left_is_applied_by_another(tmp_path: Path, appendonly: str):
    """S2-09: a write that was begun is applied again by another process, then those behind it; none twice otherwise."""
    log = tmp_path / "applied"
    log.touch()
    applied: list[tuple[str, int]] = []
    done = asyncio.Event()

    async def apply(write: QueuedWrite[str]) -> None:
        applied.append((write.value, write.attempt))
        if write.value == "third":
            done.set()

    async with own_server("--appendonly", appendonly) as url, tollhouse.open(url) as client:
        async with client.cache.write_behind("rows") as writes:
            for value in ("first", "second", "third"):
                await writes.put(f"row:{value}", value)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", CONSUMER, url, str(log))
        async with asyncio.timeout(PATIENCE_S):
            while "second" not in log.read_text():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
        process.kill()
        await process.wait()

        async with client.cache.write_behind("rows", apply, lease_ms=LEASE_MS), asyncio.timeout(PATIENCE_S):
            await done.wait()

        assert log.read_text() == "first 1\nsecond 1\n"
        assert applied == [("second", 2), ("third", 1)]
        assert await client.cache.get("row:second") == "second"
