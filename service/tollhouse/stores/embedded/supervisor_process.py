"""The supervisor process: runs servers as its children, and ends them when its owner is gone, however it died.

Run as a file, with the standard library only: python -I supervisor_process.py DIRECTORY
Standard input is the read end of a pipe; only the owner holds the write end. Each line is a JSON list of a server's
name and its command: start that server, and kill the one of that name first if there is one. Standard output carries
one JSON object a line: `started` or `refused` for each line read, and `exited` for each server that exits by itself; it
is not started again. End of file means that the owner closed the pipe or died: every server is ended, and DIRECTORY is
removed. So a normal stop and a crash of the owner take the same path.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

STOP_S = 3.0
"""How long servers may take to save and exit before they are killed."""
LOG_TAIL_MAX = 500
"""Characters of a log that are reported, so that one message per server always fits into the pipe's buffer."""
_PR_SET_PDEATHSIG = 1


def main(directory: str) -> int:
    """Start the servers that standard input names until it ends, then end them all."""
    os.umask(0o077)  # data, logs and sockets are for this user only
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    # Python writes to the wake-up pipe only for signals with a handler.
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    servers: dict[str, subprocess.Popen[bytes]] = {}
    folder = Path(directory)
    pending = b""
    try:
        while True:
            readable, _, _ = select.select([0, woken], [], [])
            if woken in readable:
                os.read(woken, 1024)
                _report_exits(servers, folder)
            if 0 in readable:
                received = os.read(0, 65536)
                if not received:
                    return 0
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    _start(servers, folder, *json.loads(line))
    finally:
        _stop(servers.values())
        shutil.rmtree(directory, ignore_errors=True)


def _start(servers: dict[str, subprocess.Popen[bytes]], folder: Path, name: str, *command: str) -> None:
    former = servers.pop(name, None)
    if former is not None:
        former.kill()
        former.wait()
    try:
        with _log(folder, name).open("ab") as output:
            servers[name] = subprocess.Popen(  # noqa: S603 - the command is the owner's
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads run here
            )
    except OSError as error:
        _report(type="refused", name=name, reason=f"could not be started: {error}")
    else:
        _report(type="started", name=name, pid=servers[name].pid)


def _report_exits(servers: dict[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """Report each server that exited by itself, with its exit code and the last line of its log."""
    for name in [name for name, server in servers.items() if server.poll() is not None]:
        code = servers.pop(name).returncode
        lines = _log(folder, name).read_text(errors="replace").splitlines()
        tail = lines[-1][:LOG_TAIL_MAX] if lines else "no output"
        _report(type="exited", name=name, reason=f"ended with code {code}: {tail}")


def _stop(servers: Collection[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.terminate()
        # A server under SIGSTOP receives SIGTERM only when continued.
        server.send_signal(signal.SIGCONT)
    give_up_s = time.monotonic() + STOP_S
    for server in servers:
        try:
            server.wait(max(give_up_s - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _log(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def _report(**facts: str | int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the owner is gone; standard input ends next
        os.write(1, json.dumps(facts).encode() + b"\n")


def _die_with_parent() -> None:  # pragma: no cover - runs between fork and exec, when nothing is measured
    """Ask Linux to kill the server if the supervisor process is killed."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
