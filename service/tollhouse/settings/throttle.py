"""Settings of the throttle: how many wrong guesses pass, and how long a client waits for the next one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tollhouse.settings.leaf import conform

_DAY_S = 86_400
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Seconds = Annotated[int, Meta(ge=1, le=30 * _DAY_S)]


class ThrottleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How guesses at passwords and codes are throttled; `docs/accounts.md` has them in one table."""

    free_failures: Annotated[
        _Count, Meta(description="Wrong passwords in a row that an account allows before clients have to wait.")
    ] = 5
    wait_max_s: Annotated[
        _Seconds,
        Meta(description="Longest wait for the next attempt, in seconds; waits begin with 1 and double."),
    ] = 900
    memory_s: Annotated[
        _Seconds, Meta(description="Seconds after the last wrong password until an account's waits begin anew.")
    ] = _DAY_S
    row_max: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)],
        Meta(
            description="Wrong passwords in a row after which an account's password is good from trusted devices alone."
        ),
    ] = 100
    device_failures: Annotated[
        _Count, Meta(description="Wrong passwords in a row from a trusted device before it counts as any other client.")
    ] = 10
    device_window_s: Annotated[
        _Seconds, Meta(description="Seconds after the last of them until the device is trusted again.")
    ] = 900
    device_days: Annotated[
        Annotated[int, Meta(ge=1, le=400)],
        Meta(description="Days for which a device is trusted after its last login."),
    ] = 180
    address_failures: Annotated[
        _Count, Meta(description="Wrong guesses of an IPv4 address or an IPv6 /64 in `address_window_s`.")
    ] = 30
    address_window_s: Annotated[_Seconds, Meta(description="Seconds in which wrong guesses of an address count.")] = 300
    network_factor: Annotated[
        Annotated[int, Meta(ge=1, le=65_536)],
        Meta(description="How many times as many an IPv6 /48 has."),
    ] = 8
    all_failures: Annotated[
        _Count, Meta(description="Wrong guesses of all clients without a trusted device in `all_window_s`.")
    ] = 1_000
    all_window_s: Annotated[_Seconds, Meta(description="Seconds in which wrong guesses of all of them count.")] = 300
    code_failures: Annotated[_Count, Meta(description="Wrong codes in a row before clients have to wait.")] = 5
    code_window_s: Annotated[
        _Seconds, Meta(description="Seconds after the last wrong code until they are counted anew.")
    ] = 300
    code_wait_s: Annotated[_Seconds, Meta(description="Seconds to wait after that many wrong codes.")] = 900

    def __post_init__(self) -> None:
        conform(self)
