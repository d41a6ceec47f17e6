"""Finders: how a store learns where its primary is and as whom to log in, one for each kind of place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import PrimaryEvent
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver, ServiceHealth
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.urls import TcpAddress, UnixAddress

Address = TcpAddress | UnixAddress
OnPrimaryEvent = Callable[[PrimaryEvent], None]


class Locator(Protocol):
    """Knows where the primary is, and hears from links what makes that doubtful."""

    async def locate(self) -> Address:
        """Give the address to connect to; may wait while a failover is under way. Raises OSError."""
        ...

    def login(self) -> Login:
        """Tell as whom to speak to the server that `locate` named."""
        ...

    def suspect(self, address: Address, signal: FailoverHint) -> None:
        """Suggest that the server at `address` is not the primary any more."""
        ...

    def subscribe(self, changed: OnPrimaryEvent) -> None:
        """Have `changed` called when the primary is another one."""
        ...

    def health(self) -> ServiceHealth | None:
        """Describe the Sentinel service; None where there is none."""
        ...


class StaticLocator:
    """A server that no Sentinel watches: there is nobody to ask whether it is still the one."""

    def __init__(self, locate: Callable[[], Awaitable[Address]], login: Login) -> None:
        self._locate = locate
        self._login = login

    async def locate(self) -> Address:
        """Give the address."""
        return await self._locate()

    def login(self) -> Login:
        """Give the login of the URL."""
        return self._login

    def suspect(self, address: Address, signal: FailoverHint) -> None:
        """Do nothing."""

    def subscribe(self, changed: OnPrimaryEvent) -> None:
        """Do nothing: the primary never changes."""

    def health(self) -> ServiceHealth | None:
        """Give None."""
        return None


class Watched:
    """The primary of a service that Sentinels watch."""

    def __init__(self, resolver: SentinelResolver, login: Login) -> None:
        self._resolver = resolver
        self._login = login
        self.subscribe = resolver.subscribe
        self.health = resolver.health

    async def locate(self) -> Address:
        """Give the primary of the present generation."""
        return await self._resolver.locate()

    def login(self) -> Login:
        """Give the login of the URL."""
        return self._login

    def suspect(self, address: Address, signal: FailoverHint) -> None:
        """Have the resolver look again."""
        assert isinstance(address, TcpAddress)
        self._resolver.suspect(address, signal)
