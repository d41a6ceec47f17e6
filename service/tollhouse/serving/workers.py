"""Workers: serving in this process, or in several that end with it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import threading
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from tollhouse.serving.config import ServingConfig
from tollhouse.serving.signals import stop_on_signals, stop_workers_on_signals

_ORPHAN_GRACE_S: Final = 1.0
"""How long open requests may take if the parent is gone: embedded stores are gone too, and nothing else stops this."""


def run(config: ServingConfig, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, in this process or in workers; return when all of them have stopped."""
    if config.workers > 1:
        supervisor = Multiprocess(config, sockets=[listening])
        stop_workers_on_signals(supervisor)
        supervisor.run()
        return
    server = uvicorn.Server(config)
    stop_on_signals(server)
    server.run(sockets=[listening])


def exit_with_parent(folder: str | None = None) -> None:
    """Stop this worker when the process that started it is gone, even if the event loop hangs; do nothing in others.

    Remove the `folder` of the workers then: its owner could not.
    The parent holds the other end of a pipe, which ends with it: unlike its process id it says so also to a worker that
    asks only afterwards, because it was still starting.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_ORPHAN_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="tollhouse-parent", daemon=True).start()
