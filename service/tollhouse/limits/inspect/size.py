"""How much is stored of one subject at most: what `lua/limits/` writes, in bytes, from the policy alone."""

from __future__ import annotations

from typing import Final

from tollhouse.limits.policy.policy import Limit, Policy

_HEAD: Final = len("TH1;")
_LATEST_MS: Final = 9_999_999_999_999
"""The last time with 13 digits, in the year 2286."""
_LEASE_BYTES: Final = 32 + len(str(_LATEST_MS))
"""The id of a lease and its end."""


def stored_bytes_max(policy: Policy) -> int:
    """Give the most bytes that one subject's counters have under the policy, reservations left out.

    The key, about 60 bytes, and what the server needs for any key come on top.
    """
    if policy.is_concurrency:
        return policy.limits[0].units * _LEASE_BYTES
    return _HEAD + sum(_window_bytes(policy, limit) for limit in policy.limits)


def _window_bytes(policy: Policy, limit: Limit) -> int:
    """Measure `name=index;`, `total;` and `older;`, where the last has `,slot:units` for each older sub-bucket."""
    window, units = _digits(limit.window_ms), _digits(limit.capacity)
    name, parts, rest, older = len(policy.algorithm) + 1 + window, limit.window_ms, max(window, units), 0
    match policy.algorithm:
        case "sliding-window":
            name, parts = window + 1 + _digits(limit.resolution), limit.resolution
            older = limit.resolution * (2 + _digits(limit.resolution) + units)
        case "sliding-window-counter":
            older = 3 + units
        case "sliding-log":
            older = limit.units * (3 + window)
        case _:
            pass
    return name + _digits(_LATEST_MS * parts // limit.window_ms) + units + rest + older + len("=;;;")


def _digits(number: int) -> int:
    return len(str(number))
