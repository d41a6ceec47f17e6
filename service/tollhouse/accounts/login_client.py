"""Who attempts a login, a sign-up, or another verb that can be guessed at."""

from __future__ import annotations

from msgspec import Struct

from tollhouse.sessions.records import Session


class LoginClient(Struct, frozen=True, kw_only=True):
    """The client of an attempt; `address` is its IP address, of IPv6 the network that one client has, as a /64.

    `device_token` is what a former login made its device known by. `session` is the live session whose user is
    authenticated again. Either is a reason to count the attempt apart from those of others.
    """

    address: str
    device_token: str | None = None
    session: Session | None = None

    def __repr__(self) -> str:
        return f"LoginClient({self.address!r}, device_token=<hidden>)"
