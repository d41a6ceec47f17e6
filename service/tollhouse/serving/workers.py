"""Workers: serving in this process, or in several that end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from tollhouse.serving.config import ServingConfig

_ORPHAN_GRACE_S: Final = 1.0
"""How long open requests may take if the parent is gone: embedded stores are gone too, and nothing else stops this."""


def run(config: ServingConfig, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, in this process or in workers; return when all of them have stopped."""
    if config.workers > 1:
        Multiprocess(config, sockets=[listening]).run()
        return
    # Uvicorn raises the signal again when it has stopped; ours ignores it, so that the caller can clean up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    uvicorn.Server(config).run(sockets=[listening])


def exit_with_parent() -> None:
    """Stop this worker when the process that started it is gone, even if the event loop hangs; do nothing in others.

    The parent holds the other end of a pipe, which ends with it: unlike its process id it says so also to a worker that
    asks only afterwards, because it was still starting.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_ORPHAN_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="tollhouse-parent", daemon=True).start()
