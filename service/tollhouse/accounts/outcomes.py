"""What the verbs of accounts return: each result is true if its verb did what it is for, and false if not."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tollhouse.accounts.factors.available import SecondFactor
from tollhouse.accounts.factors.tickets import LoginTicket
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
    """All factors were right, and a new session began; the client's `device` is trusted from now on."""

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


class PasswordChanged(Struct, frozen=True, kw_only=True):
    """The account has the new password, and `removed` sessions ended; those of before are over.

    `rotation` is the session that stayed, under another token; None if none did, or if it was over meanwhile.
    """

    user: str
    rotation: Rotation | None
    removed: int
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class ResetToken(Struct, frozen=True, kw_only=True):
    """A token that allows a new password until `expires_at`, in milliseconds since 1970: for its user alone."""

    token: str
    expires_at: int

    def __repr__(self) -> str:
        """Return a text without the token."""
        return f"ResetToken(expires_at={self.expires_at})"


class ResetRefused(Struct, frozen=True, kw_only=True):
    """The token is none of this name, too old, or used; nothing was changed."""

    def __bool__(self) -> Literal[False]:
        """Return False: the password is as it was."""
        return False


class AccountDeleted(Struct, frozen=True, kw_only=True):
    """There is no account of this name any more, and `removed` sessions ended."""

    user: str
    removed: int
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class NoAccount(Struct, frozen=True, kw_only=True):
    """No account has this name; nothing was changed."""

    def __bool__(self) -> Literal[False]:
        """Return False: nothing was changed."""
        return False


class AccountStatus(Struct, frozen=True, kw_only=True):
    """What an administrator sees of an account; times are in milliseconds since 1970."""

    user: str
    created_at: int
    password_changed_at: int | None
    has_password: bool
    disabled: bool


class SecondFactorDue(Struct, frozen=True, kw_only=True):
    """The password was right, and no session began: one of the `factors` is to follow, with the ticket.

    The ticket is good until `expires_at`, in ms since 1970.
    """

    ticket: LoginTicket
    expires_at: int
    factors: tuple[SecondFactor, ...]

    def __bool__(self) -> Literal[False]:
        """Return False: no session began."""
        return False


class TicketRefused(Struct, frozen=True, kw_only=True):
    """The ticket opens nothing: it never did, or is spent or over, or the account has changed; log in again."""

    def __bool__(self) -> Literal[False]:
        """Return False: no session began."""
        return False


class WrongCode(Struct, frozen=True, kw_only=True):
    """The code is wrong, or was used before; it was counted."""

    def __bool__(self) -> Literal[False]:
        """Return False: no session began, or it is as before."""
        return False


class CodeDue(Struct, frozen=True, kw_only=True):
    """The password was right, and nothing was changed: the account takes one of the `factors` with it.

    A recovery code is none of them: it is for a login.
    """

    factors: tuple[SecondFactor, ...]

    def __bool__(self) -> Literal[False]:
        """Return False: the session is as before."""
        return False


class PasswordDue(Struct, frozen=True, kw_only=True):
    """A code alone is not enough in this session, or its user has no such factor; nothing was compared or counted."""

    def __bool__(self) -> Literal[False]:
        """Return False: the session is as before."""
        return False


class LevelDue(Struct, frozen=True, kw_only=True):
    """The password was right, and nothing was changed: the session has to be at this `level`, by a second factor."""

    level: str

    def __bool__(self) -> Literal[False]:
        """Return False: nothing was changed."""
        return False
