"""Credentials for the stores that code gives, in place of those in a URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import ConfigurationError

_LIFETIME_S_MIN: Final = 1.0

Place = Literal["server", "sentinel"]
"""What asks for credentials: the servers of the stores, or their Sentinels."""


class StoreCredentials(Struct, frozen=True, kw_only=True):
    """A password and, unless the URL or the server's default is meant, a user name. Their repr hides the password.

    `lifetime_s` is how long the server accepts a connection with them, None for as long as it lives: connections log in
    anew when four fifths of it are over.
    """

    password: str
    username: str | None = None
    lifetime_s: float | None = None

    def __post_init__(self) -> None:
        if self.lifetime_s is not None and self.lifetime_s < _LIFETIME_S_MIN:
            raise ConfigurationError("lifetime_s", self.lifetime_s, "give a second or more")

    def __repr__(self) -> str:
        return f"StoreCredentials({self.username!r}, lifetime_s={self.lifetime_s!r})"


CredentialsFunction = Callable[[Place], StoreCredentials | Awaitable[StoreCredentials | None] | None]
"""Returns the credentials for a place, None to log in without any; async, or called in a thread."""
