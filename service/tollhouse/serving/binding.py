"""Binding: the listening socket, before anything else starts; or the one that systemd has opened."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from tollhouse.errors import ConfigurationError

_BACKLOG: Final = 2048
_CHOICE: Final = "--port, TOLLHOUSE_PORT, or `port` of the settings file"
_FIRST_PASSED: Final = 3
"""The descriptor of the first socket that systemd passes, as sd_listen_fds(3) says."""


def bind(host: str, port: int) -> socket.socket:
    """Bind the port before anything else starts; raise ConfigurationError if that is impossible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError("host", host, f"not an address of this machine ({error.strerror})") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise not_bound(host, port, error) from error
    return listening


def not_bound(host: str, port: int, error: OSError) -> ConfigurationError:
    """Return what an error of the system says about the port, or else about the address."""
    if error.errno == errno.EADDRINUSE:
        remedy = f"another program listens on {host}:{port}; stop it, or choose another port: {_CHOICE}"
        return ConfigurationError("port", port, remedy)
    if error.errno == errno.EACCES:
        remedy = f"this user may not listen there; choose a port above 1023 ({_CHOICE}), or let systemd open the socket"
        return ConfigurationError("port", port, remedy)
    remedy = f"cannot listen there ({error.strerror}); give an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    return ConfigurationError("host", host, remedy)


def passed_socket(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Return the socket that systemd has opened for this process, None if there is none; remove its variables.

    Raises ConfigurationError unless it is one stream socket that can listen.
    """
    process, number, _ = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if process != str(os.getpid()):
        return None
    if number != "1":
        raise ConfigurationError("LISTEN_FDS", number, "one socket is served: give the socket unit one ListenStream=")
    try:
        passed = socket.socket(fileno=_FIRST_PASSED)
    except OSError as error:
        remedy = (
            f"descriptor {_FIRST_PASSED} is no socket ({error.strerror}): start the socket unit, or unset LISTEN_PID"
        )
        raise ConfigurationError("LISTEN_FDS", number, remedy) from error
    if passed.type != socket.SOCK_STREAM or _is_connected(passed):
        passed.close()
        remedy = "HTTP needs a stream that listens: ListenStream=, with Accept=no"
        raise ConfigurationError("LISTEN_FDS", passed.type.name, remedy)
    passed.set_inheritable(False)
    return passed


def _is_connected(passed: socket.socket) -> bool:
    """Return True for the connection of one client, which a socket unit with Accept=yes passes."""
    try:
        passed.getpeername()
    except OSError:
        return False
    return True


def address_of(listening: socket.socket, host: str) -> str:
    """Return the URL of a socket that listens on `host`, or `unix:` and the path of one that has no host."""
    if listening.family == socket.AF_UNIX:
        return f"unix:{listening.getsockname()}"
    return (
        f"http://[{host}]:{listening.getsockname()[1]}"
        if ":" in host
        else f"http://{host}:{listening.getsockname()[1]}"
    )
