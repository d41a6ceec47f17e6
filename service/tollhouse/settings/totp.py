"""Settings of one-time passwords."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tollhouse.settings.leaf import conform


class TotpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One-time passwords by time (TOTP), a second factor of accounts."""

    issuer: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            pattern=r"^[^:\x00-\x1f]*\Z",
            description="Name of the service, which users see beside the code in their app. It has no colon.",
        ),
    ] = "Tollhouse"
    window: Annotated[
        int,
        Meta(
            ge=0,
            le=1,
            description="How many codes before and after the current one count: 0, or 1 for clocks that are wrong by "
            "up to 30 seconds.",
        ),
    ] = 0

    def __post_init__(self) -> None:
        conform(self)
