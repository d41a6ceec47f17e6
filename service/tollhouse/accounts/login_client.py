"""Who attempts a login, a sign-up, or another verb that can be guessed at."""

from __future__ import annotations

from msgspec import Struct


class LoginClient(Struct, frozen=True, kw_only=True):
    """The client of an attempt; `address` is its IP address, of IPv6 the network that one client has, as a /64."""

    address: str
