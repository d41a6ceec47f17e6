"""The guard process: owns an embedded server, and ends it when its owner is gone, however the owner died.

Run as a file, with the standard library only: python -I guard.py DIRECTORY [--keep PATH...] -- COMMAND...
Standard input is the read end of a pipe whose write end only the owner holds: end of file means that the
owner closed it or died. Stopping normally and crashing are so the same path. DIRECTORY is removed at the end.
Standard output carries one line to the owner if the server ends by itself.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

STOP_S = 3.0
"""How long the server may take to save and leave before it is killed."""
_PR_SET_PDEATHSIG = 1


def main(directory: str, *command: str) -> int:
    """Run the command until standard input ends; give its exit code, or 0 when it was stopped."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    log = Path(directory) / "server.log"
    try:
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603 - the command is the owner's
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads run here
            )
        while server.poll() is None:
            readable, _, _ = select.select([0, woken], [], [])
            if 0 in readable and not os.read(0, 1024):
                return _stop(server)
            if woken in readable:
                os.read(woken, 1024)
        _tell_owner(log, server.returncode)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wake(_signal: int, _frame: object) -> None:
    """Do nothing: that a handler exists makes the wake-up pipe readable."""


def _stop(server: subprocess.Popen[bytes]) -> int:
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    return 0


def _tell_owner(log: Path, code: int) -> None:
    """Say why the server ended: its exit code and the last line of its log."""
    lines = log.read_text(errors="replace").splitlines()
    try:
        os.write(1, f"ended with code {code}: {lines[-1] if lines else 'no output'}\n".encode()[:1000])
    except BrokenPipeError:
        return
    # The owner decides what to do next; the guard only waits until the owner is done.
    while os.read(0, 1024):
        pass


def _die_with_parent() -> None:
    """Ask Linux to kill the server should the guard itself be killed."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
