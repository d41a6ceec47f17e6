"""The policies that exist until the settings name others of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy

_TEXTS: Final = {
    "default": "60/minute; 1000/hour; 10000/day",
    "session": "120/minute",
    "ai": "60/minute; 1000/hour",
    "login": "5/minute; 30/hour",
    "login-address": "30/5m",
    "signup": "20/hour",
}

BUILT_IN: Final[Mapping[str, Policy]] = MappingProxyType(
    {name: parse_policy(name, text) for name, text in _TEXTS.items()}
)
"""`login` is per account, `login-address` and `signup` per address, `session` and `ai` per caller."""
