"""Which factors an account has now: computed from its credentials whenever it is asked for, and never stored.

One-time passwords are what makes a login take a second step. Then a recovery code or a passkey is as good as a code. A
passkey alone asks for none: it is another way to log in, at the second level by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from tollhouse.accounts.credentials.credentials import Credentials

SecondFactor = Literal["totp", "recovery", "passkey"]


def takes_second_step(credentials: Credentials) -> bool:
    """Return whether a right password is not enough to log in."""
    return credentials.totp is not None and credentials.totp.confirmed


def second_factors(credentials: Credentials, key_ids: Collection[str], *, passkeys: bool) -> tuple[SecondFactor, ...]:
    """Return what may follow the password, under the secrets that are configured; empty if it is enough.

    Those of `passkeys` count only while the settings have them.

    Also empty if it is not, and nothing can be shown any more: such an account is for its operator to reset.
    """
    if not takes_second_step(credentials) or credentials.totp is None:
        return ()
    recovery = any(code.key_id in key_ids for code in credentials.recovery)
    usable: dict[SecondFactor, bool] = {
        "totp": credentials.totp.key_id in key_ids,
        "recovery": recovery,
        "passkey": passkeys and bool(credentials.passkeys),
    }
    return tuple(factor for factor, there in usable.items() if there)


def second_level(levels: Sequence[str]) -> str:
    """Return the level of a login with two factors: the second of all, or the only one."""
    return levels[min(1, len(levels) - 1)]


def highest_level(credentials: Credentials, levels: Sequence[str], *, passkeys: bool) -> str:
    """Return the highest level that the user can reach with the factors of now; passkeys count if they are on."""
    both = takes_second_step(credentials) or (passkeys and bool(credentials.passkeys))
    return second_level(levels) if both else levels[0]
