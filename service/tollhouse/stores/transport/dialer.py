"""Opens connections: plain, over TLS or through a unix socket, with one TLS context for all of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct

from tollhouse.stores.transport.connection import STALL_S, Connection, encode
from tollhouse.stores.transport.sockets import NEXT_ADDRESS_S, Resolve, open_socket, resolve_name
from tollhouse.stores.urls import Host, TcpAddress, UnixAddress


class Login(Struct, frozen=True, kw_only=True):
    """The credentials for a server; its repr hides the password."""

    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Login({self.username!r})"

    def hello(self, name: str) -> bytes:
        """Return the first command of a connection: RESP3, the credentials if any, and our name."""
        login = () if self.password is None else ("AUTH", self.username or "default", self.password)
        return encode("HELLO", "3", *login, "SETNAME", name)


class Dialer:
    """Opens connections. A TLS context takes tens of milliseconds: it is made once, in a thread."""

    def __init__(self, resolve: Resolve = resolve_name) -> None:
        self._resolve = resolve
        self._contexts: dict[str | None, asyncio.Future[ssl.SSLContext]] = {}

    async def dial(
        self,
        address: TcpAddress | UnixAddress,
        *,
        on_lost: Callable[[], None],
        on_push: Callable[[list[Any]], None] = lambda _: None,
        stall_s: float = STALL_S,
        next_address_s: float = NEXT_ADDRESS_S,
    ) -> tuple[Connection, Host | None]:
        """Connect; return the connection and the peer's address (None for a unix socket). Raise OSError.

        The caller bounds the time and closes the connection. `next_address_s` is how long one address of a name has to
        connect before the next one is tried as well.
        """
        make = partial(Connection, on_lost=on_lost, on_push=on_push, stall_s=stall_s)
        try:
            if isinstance(address, UnixAddress):
                _, connection = await asyncio.get_running_loop().create_unix_connection(make, address.path)
                return connection, None
            return await self._dial_tcp(address, make, next_address_s)
        except OSError:
            raise
        except ValueError as error:  # a path or a name with a character that has no place there
            raise OSError(f"cannot be connected to: {error}") from error

    async def _dial_tcp(
        self, address: TcpAddress, make: Callable[[], Connection], next_address_s: float
    ) -> tuple[Connection, Host]:
        context = await self._context(address.ca) if address.tls else None
        opened, peer = await open_socket(
            address.host, address.port, next_address_s=next_address_s, resolve=self._resolve
        )
        name = None if context is None else address.host
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                make, sock=opened, ssl=context, server_hostname=name
            )
        except BaseException:
            opened.close()
            raise
        return connection, peer

    async def _context(self, ca: str | None) -> ssl.SSLContext:
        """Return the shared context; a caller that is cancelled does not undo the work for the others."""
        if ca not in self._contexts:
            make = partial(ssl.create_default_context, cafile=ca)
            self._contexts[ca] = asyncio.get_running_loop().run_in_executor(None, make)
        try:
            return await asyncio.shield(self._contexts[ca])
        except OSError as error:
            self._contexts.pop(ca, None)  # the file is read again, it may have been repaired
            raise OSError(f"the authorities in {ca} cannot be used: {error}") from error
