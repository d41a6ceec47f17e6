"""An owner of an embedded server that forks: `python -m tests.failures.forked HOW`.

It prints the socket of its server and the child's process id. The child closes what it inherited, and then waits.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

from tollhouse.stores.embedded.server import EmbeddedServer


def wait(server: EmbeddedServer) -> None:
    """Stop the parent's server, as a child that ends in order would, and stay."""
    server.stop()
    time.sleep(60)


def fork(server: EmbeddedServer, how: str) -> int:
    """Return the process id of a child of the kind `how`."""
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            wait(server)
        return pid
    if how == "multiprocessing":
        child = multiprocessing.get_context("fork").Process(target=wait, args=(server,))
        child.start()
        assert child.pid is not None
        return child.pid
    waiting = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    return waiting.pid


if __name__ == "__main__":
    ours = EmbeddedServer.start()
    print(ours.socket_path, fork(ours, sys.argv[1]), flush=True)  # noqa: T201 - the specification reads it
    sys.stdin.readline()
