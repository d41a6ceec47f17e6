"""What the verbs of accounts return: each result is true if its verb did what it is for, and false if not."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tollhouse.accounts.throttling.devices import DeviceToken
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
    """The limit of sign-ups refused this one; nothing was charged or hashed."""

    decision: Decision

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created."""
        return False


class AttemptThrottled(Struct, frozen=True, kw_only=True):
    """Too many failures before this attempt, which was neither charged nor made; it may be in `retry_after_ms`.

    The answer is the same for names with and without an account, and for right and wrong passwords.
    """

    retry_after_ms: int

    def __bool__(self) -> Literal[False]:
        """Return False: nothing was done."""
        return False


class LoginSucceeded(Struct, frozen=True, kw_only=True):
    """The password was right, and a new session began; the client's `device` is trusted from now on."""

    issued: Issued
    device: DeviceToken

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
