"""What the verbs of factors return; what is secret is shown to the user, and in no text that a log could get."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class AccountOverview(Struct, frozen=True, kw_only=True):
    """The account of a user: times in ms since 1970, the factors of now, and the highest level that they reach."""

    user: str
    created_at: int
    password_changed_at: int | None
    password: bool
    totp: bool
    recovery_codes_left: int
    passkeys: int
    highest_level: str


class TotpEnrolment(Struct, frozen=True, kw_only=True):
    """A new seed, for the user's app: as 32 characters to type, and as the URI of a QR code."""

    secret: str
    uri: str
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True

    def __repr__(self) -> str:
        return "TotpEnrolment(<hidden>)"


class RecoveryCodesMade(Struct, frozen=True, kw_only=True):
    """The new recovery codes, for the user alone: the former ones are void."""

    codes: tuple[str, ...]
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True

    def __repr__(self) -> str:
        return "RecoveryCodesMade(<hidden>)"


class FactorsChanged(Struct, frozen=True, kw_only=True):
    """The factors of the account are as the caller asked for."""

    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class FactorsRemoved(Struct, frozen=True, kw_only=True):
    """The account has no second factor any more: what it had, and how many sessions ended."""

    user: str
    totp: bool
    recovery_codes: int
    passkeys: int
    removed: int
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class FactorRefused(Struct, frozen=True, kw_only=True):
    """Nothing was changed: there is no account, the factor is there already, or it is not, or the code is wrong.

    There may be as many passkeys as an account can have (`full`), or no other way into the account (`last`).

    Or the session is below the `level` that the account can reach: who changes factors has shown those that there are.
    """

    reason: Literal["no-account", "present", "missing", "wrong-code", "level", "full", "last"]
    level: str | None = None

    def __bool__(self) -> Literal[False]:
        """Return False: nothing was changed."""
        return False
