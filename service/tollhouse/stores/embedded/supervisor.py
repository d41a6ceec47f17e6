"""Servers that cannot outlive their owner: the owner's end of the guard's pipe."""

from __future__ import annotations

import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from tollhouse.stores.embedded import supervisor_process as guard

STOP_TIMEOUT_S = guard.STOP_S + 2.0
"""How long the guard may take to end its servers and itself."""
START_TIMEOUT_S = 10.0
"""How long the guard may take to start a server."""
_GUARD = "guard"


class ServerExit(Exception):
    """A server did not start, or ended by itself, or the guard did; names which, and how."""

    def __init__(self, name: str, how: str) -> None:
        self.name = name
        self.how = how
        super().__init__(f"{name} {how}")


class _StartedEvent(Struct, frozen=True, kw_only=True, tag="started"):
    name: str
    pid: int


class _StartFailedEvent(Struct, frozen=True, kw_only=True, tag="refused"):
    name: str
    how: str


class _ExitedEvent(Struct, frozen=True, kw_only=True, tag="ended"):
    name: str
    how: str


_DECODER = msgspec.json.Decoder(_StartedEvent | _StartFailedEvent | _ExitedEvent)


class Supervisor:
    """A guard with its directory and its servers; `stop` ends them, and so does the end of this process."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        self._process = process
        self._unread = b""
        self._ended: dict[str, str] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls) -> Self:
        """Start a guard without servers; its directory has a short path, and only its user can enter it."""
        directory = Path(tempfile.mkdtemp(prefix="th-"))
        process = subprocess.Popen(  # noqa: S603 - our own file, with our own interpreter
            [sys.executable, "-I", guard.__file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        return cls(directory, process)

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._process.pid

    def start(self, name: str, command: Sequence[str]) -> int:
        """Run a command as the server of that name, killing the one that runs, and give its process id.

        Raises ServerEnded where it cannot be run.
        """
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(msgspec.json.encode([name, *command]) + b"\n")
            except (BrokenPipeError, ValueError):
                # The guard died, or was stopped: to Python a pipe that is closed is a wrong value.
                raise ServerExit(_GUARD, "ended") from None
            answer = None
            while answer is None:
                answer = self._read_events(START_TIMEOUT_S)
        if isinstance(answer, _StartFailedEvent):
            raise ServerExit(answer.name, answer.how)
        return answer.pid

    def check(self, *names: str) -> None:
        """Raise ServerEnded if one of these servers, or the guard, ended since it was started."""
        with self._lock:
            self._read_events(0)
            for name in names:
                if name in self._ended:
                    raise ServerExit(name, self._ended[name])

    def stop(self) -> None:
        """End the servers and the guard, and remove the directory; a second time there is nothing to do."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.close()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            # Only a guard that was killed left it behind.
            shutil.rmtree(self.directory, ignore_errors=True)

    def _read_events(self, wait_s: float) -> _StartedEvent | _StartFailedEvent | None:
        """Read what the guard has written: keep who ended, and give the answer to a start if it is there."""
        assert self._process.stdout is not None
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        if not poller.poll(wait_s * 1000):
            if wait_s:
                raise ServerExit(_GUARD, f"did not answer within {wait_s:g} s")
            return None
        received = self._process.stdout.read(65536)
        if not received:
            raise ServerExit(_GUARD, "ended")
        *lines, self._unread = (self._unread + received).split(b"\n")
        answer = None
        for line in lines:
            told = _DECODER.decode(line)
            if isinstance(told, _ExitedEvent):
                self._ended[told.name] = told.how
            else:
                self._ended.pop(told.name, None)
                answer = told
        return answer
