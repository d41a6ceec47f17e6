"""What a call that makes a token returns."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tollhouse.sessions.records import Session
from tollhouse.sessions.tickets import Ticket
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
    """No session was created.

    `disabled`: the user is. `at-cap`: the user has as many as the policy allows. `ticket`: the ticket was used already,
    replaced by that of a later login, is too old, or was ended with all sessions of the user; or it never was one.
    """

    reason: Literal["disabled", "at-cap", "ticket"]

    def __bool__(self) -> Literal[False]:
        """Return False, so that a type checker knows a true result as `Issued`."""
        return False


class CapReached(Struct, frozen=True, kw_only=True):
    """No session was created yet: the user is to choose `ends` or more of these sessions, which end in its place.

    The choice goes to `Sessions.resume` with the ticket, which is good once, until `expires_at`. `durable` is True if
    what the call wrote survives a failover: the ticket, and the end of the session that the login replaced.
    """

    ticket: Ticket
    expires_at: int
    sessions: tuple[Session, ...]
    ends: int
    durable: bool
    reason: Literal["at-cap"] = "at-cap"

    def __bool__(self) -> Literal[False]:
        """Return False, so that a type checker knows a true result as `Issued`."""
        return False
