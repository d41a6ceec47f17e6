"""What the verbs of passkeys return, beside what all logins do."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.sessions.outcomes import Rotation


class PasskeyRefused(Struct, frozen=True, kw_only=True):
    """The answer opens nothing, and does not show why: ask for new options, and try once more.

    The challenge is over or spent, or of another purpose or session; or the signature is wrong, or its user was not
    verified; or no account has the passkey any more, or it is disabled.
    """

    def __bool__(self) -> Literal[False]:
        """Return False: nothing was changed."""
        return False


class PasskeyConfirmed(Struct, frozen=True, kw_only=True):
    """The passkey was right: the session has another token, and its times begin anew."""

    rotation: Rotation

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class PasskeyAdded(Struct, frozen=True, kw_only=True):
    """The account has a new passkey."""

    passkey: Passkey
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True
