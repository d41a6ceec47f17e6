"""What the verbs of accounts return: each result is true if its verb did what it is for, and false if not."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tollhouse.limits.decision import Decision
from tollhouse.sessions.outcomes import Issued, Rotation


class AccountCreated(Struct, frozen=True, kw_only=True):
    """The account exists now; `user` is the canonical spelling of its name."""

    user: str
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class NameTaken(Struct, frozen=True, kw_only=True):
    """Another account has this name; nothing was changed."""

    user: str

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created."""
        return False


class TooManyAttempts(Struct, frozen=True, kw_only=True):
    """A limit refused the attempt; nothing was charged or hashed."""

    decision: Decision

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created, or no session began."""
        return False


class LoginSucceeded(Struct, frozen=True, kw_only=True):
    """The password was right, and a new session began."""

    issued: Issued

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class PasswordConfirmed(Struct, frozen=True, kw_only=True):
    """The password was right: the session has another token, and its times begin anew."""

    rotation: Rotation

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class WrongCredentials(Struct, frozen=True, kw_only=True):
    """No such account, a disabled account, or a wrong password; the answer does not show which."""

    def __bool__(self) -> Literal[False]:
        """Return False: no session began."""
        return False
