"""The event loop of callers without one: a thread and its connections for the whole process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

from tests.asgi import connections, until_connections
from tests.project.imports import ROOT
from tests.worlds import StoreWorld
from tollhouse import limit
from tollhouse.sync import loop_thread
from tollhouse.sync.caller_thread import run_in_loop
from tollhouse.sync.loop_thread import LoopThread

FUNCTIONS = 30
FORKING = """
import os, sys, threading, tollhouse
from multiprocessing import get_context

@tollhouse.limit("2/minute", key="all", limiter="fake://forked")
def work():
    return os.getpid()

def outcomes():
    found = []
    for _ in range(3):
        try:
            work()
            found.append("ok")
        except tollhouse.RateLimited:
            found.append("refused")
    return found

def child(pipe):
    pipe.send((outcomes(), [one.name for one in threading.enumerate()].count("tollhouse-loop")))

work()
here, there = get_context("fork").Pipe()
process = get_context("fork").Process(target=child, args=(there,))
process.start()
assert here.poll(10), "the child hangs"
print(here.recv(), outcomes())
process.join()
"""


def limited(name: str, url: str) -> Any:
    @limit("1/minute", key="all", name=name, limiter=url)
    def work() -> str:
        return name

    return work


async def test_all_plain_functions_share_a_thread_and_its_connections(embedded: StoreWorld) -> None:
    """Thirty functions with a limit, called from threads, make one thread and the connections of one limiter."""
    await asyncio.to_thread(loop_thread.PROCESS.close)
    before = await connections(embedded)
    functions = [limited(f"function-{number}", embedded.url) for number in range(FUNCTIONS)]

    done = await asyncio.gather(*(asyncio.to_thread(function) for function in functions))

    assert done == [f"function-{number}" for number in range(FUNCTIONS)]
    assert [thread.name for thread in threading.enumerate()].count("tollhouse-loop") == 1
    assert await connections(embedded) - before <= 2  # calls, and announcements
    await asyncio.to_thread(loop_thread.PROCESS.close)
    await until_connections(embedded, before)


def test_a_forked_child_begins_a_thread_of_its_own() -> None:
    """After a fork the child's first call starts a thread with connections of its own, whatever the parent's does."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKING],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ran.stdout.strip() == "(['ok', 'refused', 'refused'], 1) ['ok', 'refused', 'refused']"
    assert ran.stderr == ""


def test_threads_that_begin_at_once_begin_one_loop() -> None:
    """The first calls of many threads meet in one loop."""
    thread = LoopThread()
    together = threading.Barrier(8)
    loops: set[int] = set()

    async def note() -> None:
        loops.add(id(asyncio.get_running_loop()))

    def call() -> None:
        together.wait()
        run_in_loop(thread.loop, note())

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    thread.close()

    assert len(loops) == 1
