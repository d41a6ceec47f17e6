"""A worker whose parent has ended before it begins: `python -m tests.failures.orphan` prints its process id."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

from tollhouse.app import WorkerConfig, create_worker
from tollhouse.settings import Settings


def work() -> None:
    """Begin when the parent has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while os.getppid() == parent.pid:
        time.sleep(0.01)
    create_worker(WorkerConfig(settings=Settings(url="fake://"), file=None))
    threading.Event().wait()


if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=work)
    worker.start()
    print(worker.pid, flush=True)  # noqa: T201 - the specification reads it
    os._exit(0)
