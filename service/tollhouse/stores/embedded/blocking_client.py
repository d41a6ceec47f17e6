"""One blocking call to one server, over a connection of its own: for starting servers, and for drills."""

from __future__ import annotations

import socket
from typing import Any

from hiredis import Reader

from tollhouse.stores.transport.connection import encode
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import TcpAddress

_NOTHING = object()


def call(address: TcpAddress, login: tuple[str, ...], *command: str | int) -> Any:
    """Send a command and return its reply as text, integers and lists of them.

    `login` is a password, or a user name and a password. Raises OSError if there is no reply within a second, and
    ServerError if the server refuses.
    """
    reader = Reader(encoding="utf-8", errors="replace", replyError=ServerError, notEnoughData=_NOTHING)
    with socket.create_connection((address.host, address.port), timeout=1.0) as connection:
        connection.sendall(encode("AUTH", *login) + encode(*command))
        _read(connection, reader)
        return _read(connection, reader)


def _read(connection: socket.socket, reader: Reader) -> Any:
    while (reply := reader.gets()) is _NOTHING:
        received = connection.recv(65536)
        if not received:
            raise ConnectionResetError("the server closed the connection")
        reader.feed(received)
    if isinstance(reply, ServerError):
        raise reply
    return reply
