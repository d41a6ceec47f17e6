"""Writes the table of throttles in docs/accounts.md from the settings: python -m tests.project.throttle_table."""

from __future__ import annotations

import sys
from typing import Final

from tollhouse.accounts.throttling.attempts import SIGN_UP_POLICY
from tollhouse.accounts.throttling.windows import SUB_BUCKETS
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.settings.throttle import ThrottleSettings

HEAD: Final = (
    "| who is counted | how many failures | for how long | what the owner notices |",
    "|---|---|---|---|",
)
NOTHING: Final = "with a trusted device, nothing"
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def table(chosen: ThrottleSettings) -> str:
    """Return the table under these settings."""
    rows = [*_accounts(chosen), *_devices(chosen), *_windows(chosen), *_others(chosen)]
    return "\n".join([*HEAD, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _accounts(chosen: ThrottleSettings) -> list[tuple[str, ...]]:
    longest, memory = _time(chosen.wait_max_s), _time(chosen.memory_s)
    return [
        (
            "an account, by clients without a trusted device",
            f"{chosen.free_failures} wrong passwords in a row, then one after each wait",
            f"1 second, twice as long each time, up to {longest}; anew after a right one, or {memory} without any",
            f"{NOTHING}; else the wait",
        ),
        (
            "the same",
            f"{chosen.row_max} in a row, however slow",
            f"until a trusted device or a passkey logs in, or the password is reset; {chosen.device_days} days at most",
            f"{NOTHING}; a new device is told to wait {longest}, again and again",
        ),
    ]


def _devices(chosen: ThrottleSettings) -> list[tuple[str, ...]]:
    few, many, rest = chosen.device_failures, chosen.row_max, _time(chosen.device_window_s)
    how_long = f"until {rest} after the last, and for good after {many} in a row"
    return [
        (
            "a trusted device, of its own account",
            f"{few} wrong passwords in a row",
            how_long,
            "after so many mistakes of one's own the device counts as any other",
        ),
        (
            "a session whose user authenticates again",
            f"{few} wrong passwords in a row",
            how_long,
            "the same, for the session",
        ),
    ]


def _windows(chosen: ThrottleSettings) -> list[tuple[str, ...]]:
    some, many = chosen.address_failures, chosen.address_failures * chosen.network_factor
    within = f"in any {_time(chosen.address_window_s)}, and up to a {_ordinal(SUB_BUCKETS)} longer"
    everyone = f"in any {_time(chosen.all_window_s)}, and up to a {_ordinal(SUB_BUCKETS)} longer"
    shared = f"{NOTHING}; else one waits for others at the address"
    return [
        ("an IPv4 address, or an IPv6 /64", f"{some:,} wrong passwords or codes", within, shared),
        ("an IPv6 /48", f"{many:,} wrong passwords or codes", within, shared),
        (
            "all clients without a trusted device",
            f"{chosen.all_failures:,} wrong passwords or codes",
            everyone,
            f"{NOTHING}; else one waits while the service is attacked",
        ),
    ]


def _others(chosen: ThrottleSettings) -> list[tuple[str, ...]]:
    few, wait, window = chosen.code_failures, _time(chosen.code_wait_s), _time(chosen.code_window_s)
    return [
        (
            "an account's TOTP codes, and its recovery codes",
            f"{few} wrong ones in a row, each kind apart",
            f"{wait}; counted anew {window} after the last",
            "only who has the password gets that far",
        ),
        ("sign-ups of an address", f"`{BUILT_IN[SIGN_UP_POLICY].text}`, whatever their outcome", "as it says", "-"),
    ]


def _time(seconds: int) -> str:
    """Return a time in the largest unit that divides it."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size} {unit}{'' if seconds == size else 's'}"


def _ordinal(parts: int) -> str:
    return {10: "tenth"}[parts]


if __name__ == "__main__":
    sys.stdout.write(table(ThrottleSettings()))
