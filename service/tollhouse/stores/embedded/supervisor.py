"""Runs servers that cannot outlive this process: the owner's end of the pipe to the supervisor process."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.runtime.forks import forget_in_children
from tollhouse.stores.embedded import supervisor_process

STOP_TIMEOUT_S = supervisor_process.STOP_S + 2.0
"""How long the supervisor process may take to end its servers and exit."""
START_TIMEOUT_S = 10.0
"""How long the supervisor process may take to start a server."""
ANOTHER_SERVER = "give the URL of a server, in the code or as TOLLHOUSE_URL"
"""The remedy if no embedded server can run: `embedded://` may stand in the code, in the settings, or be the default."""
_SUPERVISOR = "supervisor"


class ServerExit(Exception):
    """A server, or the supervisor process, could not be started or exited by itself; has its name and the reason."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name} {reason}")


@contextmanager
def stop_on_failure(stop: Callable[[], None], url: str) -> Generator[None]:
    """Call `stop` if the block fails; raise ConfigurationError if it fails because a server exited."""
    try:
        yield
    except BaseException as error:
        stop()
        if isinstance(error, ServerExit):
            raise ConfigurationError("url", url, f"the embedded {error}") from error
        raise


class _Event(Struct, frozen=True, kw_only=True):
    """What happened to the server `name`: a start has a pid, a refusal or an exit its reason."""

    type: Literal["started", "refused", "exited"]
    name: str
    pid: int = 0
    reason: str = ""


def _new_directory(below: Path | None) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="th-", dir=below))
    except OSError as error:
        remedy = f"the embedded server needs a folder to write ({error}): name one here, or {ANOTHER_SERVER}"
        raise ConfigurationError("TMPDIR", os.environ.get("TMPDIR"), remedy) from error


_DECODER = msgspec.json.Decoder(_Event)


class Supervisor:
    """A new supervisor process without servers; `stop` ends it and its servers, and so does the end of this process.

    Its directory has a short path and mode 0700. It is made `below` a folder, by default that for temporary files;
    raises ConfigurationError if that is impossible.
    """

    def __init__(
        self,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        below: Path | None = None,
    ) -> None:
        self.directory = _new_directory(below)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own file, with our own interpreter
                [sys.executable, "-I", supervisor_process.__file__, str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except BaseException:  # pragma: no cover - a signal that ends the process comes while it starts
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._unread = b""
        self._exits: dict[str, str] = {}
        self._lock = threading.Lock()
        forget_in_children(self)

    @property
    def pid(self) -> int:
        """The process id of the supervisor process."""
        return self._process.pid

    def start(self, name: str, command: Sequence[str]) -> int:
        """Run a command as the server `name`, killing the one that runs under it, and return its process id.

        Raises ServerExit if it cannot be run.
        """
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(msgspec.json.encode([name, *command]) + b"\n")
            except (BrokenPipeError, ValueError):
                # The supervisor process died, or was stopped: writing to a closed file is a ValueError.
                raise ServerExit(_SUPERVISOR, "ended") from None
            reply = None
            while reply is None:
                reply = self._read_events(self._start_timeout_s)
        if reply.type == "refused":
            raise ServerExit(reply.name, reply.reason)
        return reply.pid

    def check(self, *names: str) -> None:
        """Raise ServerExit if one of these servers, or the supervisor process, exited since it was started."""
        with self._lock:
            self._read_events(0)
            for name in names:
                if name in self._exits:
                    raise ServerExit(name, self._exits[name])

    def stop(self) -> None:
        """End the servers and the supervisor process, and remove the directory; no effect the second time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            if self._process.stdin.closed:
                return
            self._process.stdin.close()
            try:
                self._process.wait(self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            # Still there only if the supervisor process was killed.
            shutil.rmtree(self.directory, ignore_errors=True)

    def forget(self) -> None:  # pragma: no cover - runs in forked children, which are not measured
        """Close the inherited ends of the pipes: a child must not keep the servers of its parent alive."""
        self._lock = threading.Lock()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read_events(self, wait_s: float) -> _Event | None:
        """Read what the supervisor process wrote: record the exits, and return the reply to a start, if any."""
        assert self._process.stdout is not None
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        if not poller.poll(wait_s * 1000):
            if wait_s:
                raise ServerExit(_SUPERVISOR, f"did not answer within {wait_s:g} s")
            return None
        received = self._process.stdout.read(65536)
        if not received:
            raise ServerExit(_SUPERVISOR, "ended")
        *lines, self._unread = (self._unread + received).split(b"\n")
        reply = None
        for line in lines:
            event = _DECODER.decode(line)
            if event.type == "exited":
                self._exits[event.name] = event.reason
            else:
                self._exits.pop(event.name, None)
                reply = event
        return reply
