"""Session policies: how long a session lives, and how many a user may have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import ConfigurationError, InvalidInput

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS

IDLE_MS_MIN: Final = 1_000
LIFETIME_MS_MAX: Final = 400 * _DAY_MS
"""The longest that any session may live, as browsers keep no cookie for longer."""

CAP_MAX: Final = 1_000
"""The most sessions that one user may have at a time."""

AtCap = Literal["evict-oldest", "refuse"]
"""What a login does when the user has as many sessions as allowed: end the one that would end first, or nothing."""


class Policy(Struct, frozen=True, kw_only=True):
    """How long a session may be idle and may live at all, and how many of them a user may have."""

    idle_ms: int
    absolute_ms: int
    cap: int = 20
    at_cap: AtCap = "evict-oldest"

    def __post_init__(self) -> None:
        if not IDLE_MS_MIN <= self.idle_ms <= self.absolute_ms <= LIFETIME_MS_MAX:
            given = f"idle_ms={self.idle_ms}, absolute_ms={self.absolute_ms}"
            remedy = f"use {IDLE_MS_MIN} <= idle_ms <= absolute_ms <= {LIFETIME_MS_MAX}"
            raise ConfigurationError("session policy", given, remedy)
        if not 1 <= self.cap <= CAP_MAX:
            raise ConfigurationError("session policy", f"cap={self.cap}", f"use a cap of 1 to {CAP_MAX}")


Policies = Mapping[str, Policy]

POLICIES: Final[Policies] = MappingProxyType(
    {
        "default": Policy(idle_ms=_HOUR_MS, absolute_ms=24 * _HOUR_MS),
        "remember": Policy(idle_ms=14 * _DAY_MS, absolute_ms=90 * _DAY_MS),
        "admin": Policy(idle_ms=15 * _MINUTE_MS, absolute_ms=12 * _HOUR_MS),
    }
)
"""The policies that exist unless others are given: NIST's AAL2, a remembered browser, NIST's AAL3."""


def find(policies: Policies, name: str) -> Policy:
    """Give the policy of that name; raises InvalidInput where there is none."""
    policy = policies.get(name)
    if policy is None:
        raise InvalidInput("policy", name, f"name one of {', '.join(sorted(policies))}")
    return policy
