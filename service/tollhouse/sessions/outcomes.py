"""What a call that makes a token returns."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import Token


class Issued(Struct, frozen=True, kw_only=True):
    """A new session and its token; `durable` is True if it survives a failover."""

    session: Session
    token: Token
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as `SessionRefused`."""
        return True


class Rotation(Struct, frozen=True, kw_only=True):
    """A live session and the token that its client is to hold: a new one, or the one it presented (`renew`).

    `durable` is True if a new one survives a failover.
    """

    session: Session
    token: Token
    durable: bool


class SessionRefused(Struct, frozen=True, kw_only=True):
    """No session was created: the user is disabled, or has as many as the policy allows."""

    reason: Literal["disabled", "at-cap"]

    def __bool__(self) -> Literal[False]:
        """Return False, so that a type checker knows a true result as `Issued`."""
        return False
