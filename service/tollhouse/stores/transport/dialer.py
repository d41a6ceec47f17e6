"""Opens connections: plain, over TLS or through a unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct

from tollhouse.stores.transport.connection import STALL_S, Connection, encode
from tollhouse.stores.transport.credentials import CredentialsSource, read_file
from tollhouse.stores.transport.sockets import NEXT_ADDRESS_S, Resolve, open_socket, resolve_name
from tollhouse.stores.transport.tls_contexts import TlsContexts
from tollhouse.stores.urls import Host, SentinelService, StoreUrl, TcpAddress, UnixAddress


class Login(Struct, frozen=True, kw_only=True):
    """The credentials for a server: fixed ones, files that are read at each login, or what a function returns then.

    The repr hides the password.
    """

    username: str | None = None
    password: str | None = None
    username_file: str | None = None
    password_file: str | None = None
    source: CredentialsSource | None = None
    lifetime_s: float | None = None

    def __repr__(self) -> str:
        return f"Login({self.username!r})"

    async def current(self) -> Login:
        """Return the login with the credentials of now, which `hello` sends; raise OSError if there are none."""
        if self.source is not None:
            given = await self.source.get()
            if given is None:
                return Login()
            username = given.username or self.username
            return Login(username=username, password=given.password, lifetime_s=given.lifetime_s)
        if self.username_file is None and self.password_file is None:
            return self
        return Login(
            username=self.username if self.username_file is None else await read_file(self.username_file, "user name"),
            password=self.password if self.password_file is None else await read_file(self.password_file, "password"),
        )

    def hello(self, name: str) -> bytes:
        """Return the first command of a connection: RESP3, the credentials if any, and our name."""
        login = () if self.password is None else ("AUTH", self.username or "default", self.password)
        return encode("HELLO", "3", *login, "SETNAME", name)

    def auth(self) -> bytes:
        """Return the command that logs a connection in anew."""
        assert self.password is not None
        return encode("AUTH", self.username or "default", self.password)


class LoginNow(Struct, frozen=True, kw_only=True):
    """A login, and the credentials that it has now."""

    login: Login
    current: Login


async def login_now(login: Login) -> LoginNow:
    """Return a login with its credentials of now; raise OSError if there are none.

    Call it before the time of an attempt to connect begins: a function for credentials has a bound of its own, and
    one that is slower than an attempt would never log in.
    """
    return LoginNow(login=login, current=await login.current())


def login_of(url: StoreUrl | SentinelService, source: CredentialsSource | None = None) -> Login:
    """Return the login that a URL gives for its servers, or for its Sentinels; without a password the source has it."""
    own = url.password is not None or url.password_file is not None
    return Login(
        username=url.username,
        password=url.password,
        username_file=url.username_file,
        password_file=url.password_file,
        source=None if own else source,
    )


class Dialer:
    """Opens connections, which share TLS contexts. `resolve` finds the addresses of a name."""

    def __init__(self, resolve: Resolve = resolve_name) -> None:
        self._resolve = resolve
        self._contexts = TlsContexts()

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
        context = None if address.tls is None else await self._contexts.context(address.tls)
        host, port = address.dialed
        opened, peer = await open_socket(host, port, next_address_s=next_address_s, resolve=self._resolve)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                make, sock=opened, ssl=context, server_hostname=None if context is None else host
            )
        except BaseException:
            opened.close()
            raise
        return connection, peer
