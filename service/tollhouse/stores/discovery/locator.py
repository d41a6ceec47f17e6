"""Locators: how a store finds the server to connect to, and the login for it. One kind for each kind of URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.quorum import PrimaryName
from tollhouse.stores.succession import Successors
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.urls import TcpAddress, UnixAddress

Address = TcpAddress | UnixAddress
OnPrimaryEvent = Callable[[PrimaryEvent], None]


class NoPrimary(ConnectionError):
    """No server is known to be the primary; the text says why, and the remedy."""


class ServiceHealth(Struct, frozen=True, kw_only=True):
    """The state of a replicated service; `reason` is empty while its primary is certain.

    It is `refused` if only a change of the setup helps, such as another password.
    `primary_name` is what all processes that ask the same Sentinels call the primary. `promotable` counts the replicas
    that could replace it; `successors` says which those are, None if that is unknown. `silent` says of each Sentinel or
    server that gave no answer why.
    """

    service: str
    sentinels_known: int = 0
    sentinels_reachable: int = 0
    quorum: int = 0
    promotable: int
    successors: Successors | None = None
    generation: Generation | None
    reason: str
    refused: bool = False
    silent: tuple[str, ...]
    primary_name: PrimaryName | None = None


class Locator(Protocol):
    """Knows the primary of one store, and takes hints that it is another one now."""

    async def locate(self) -> Address:
        """Return the address to connect to; may wait while a failover is under way. Raises OSError."""
        ...

    def login(self) -> Login:
        """Return the login for the server that `locate` named."""
        ...

    def suspect(self, address: Address, hint: FailoverHint) -> None:
        """Take a hint that the server at `address` is not the primary any more."""
        ...

    def subscribe(self, on_event: OnPrimaryEvent) -> None:
        """Call `on_event` at every new primary and failover from now on."""
        ...

    def health(self) -> ServiceHealth | None:
        """Return the state of the service; None for a server that is not replicated."""
        ...


class StaticLocator:
    """A single server: there is no other one, and nothing to ask whether it is the primary."""

    def __init__(self, locate: Callable[[], Awaitable[Address]], login: Login) -> None:
        self._locate = locate
        self._login = login

    async def locate(self) -> Address:
        """Return the address, always the same one."""
        return await self._locate()

    def login(self) -> Login:
        """Return the login of the URL."""
        return self._login

    def suspect(self, address: Address, hint: FailoverHint) -> None:
        """Ignore the hint."""

    def subscribe(self, on_event: OnPrimaryEvent) -> None:
        """Ignore the subscriber: there will be no event."""

    def health(self) -> ServiceHealth | None:
        """Return None."""
        return None
