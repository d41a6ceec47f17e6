"""What the settings say about factors: the levels that they reach, how long codes live, and what apps show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tollhouse.accounts.factors.available import second_level
from tollhouse.sessions.levels import LEVELS

RECENT_MS: Final = 3_600_000
"""For so long a password that a session was given goes with a code that follows."""


class FactorRules(Struct, frozen=True, kw_only=True):
    """The rules of second factors.

    A password reaches the first of the `levels`, with a second factor the second. Codes of `totp_window` steps of 30
    seconds before and after count, 0 or 1. The `issuer` names the service in the user's app. If the settings have
    `passkeys`, those of an account count as factors.
    """

    levels: Sequence[str] = LEVELS
    recent_ms: int = RECENT_MS
    totp_window: int = 0
    issuer: str = "Tollhouse"
    passkeys: bool = False

    @property
    def first(self) -> str:
        """The level of a password alone."""
        return self.levels[0]

    @property
    def second(self) -> str:
        """The level of two factors."""
        return second_level(self.levels)


DEFAULT_RULES: Final = FactorRules()
