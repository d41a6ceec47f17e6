"""Binding: the listening socket, before anything else starts."""

from __future__ import annotations

import errno
import socket
from typing import Final

from tollhouse.errors import ConfigurationError

_BACKLOG: Final = 2048


def bind(host: str, port: int) -> socket.socket:
    """Bind the port before anything else starts; raise ConfigurationError if that is impossible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            "TOLLHOUSE_HOST", host, f"not an address of this machine ({error.strerror})"
        ) from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                "TOLLHOUSE_PORT", port, f"another program listens on {host}:{port}; stop it or choose another port"
            ) from error
        raise ConfigurationError(
            "TOLLHOUSE_HOST", f"{host}:{port}", f"cannot listen there: {error.strerror}"
        ) from error
    return listening
