"""Settings of passwords: what a new one may be, and what hashing one costs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

PasswordProfile = Literal["default", "owasp", "rfc9106-low", "rfc9106-high", "own"]
"""How much a hash of a password costs: `tollhouse.accounts.hashing.argon2id` has the parameters of each but `own`."""

ProfileSetting = Annotated[
    PasswordProfile,
    Meta(
        description="Cost of hashing a password: `default` (64 MiB), `owasp` (19 MiB, for small machines), "
        "`rfc9106-low`, `rfc9106-high` (2 GiB), or `own`: those of `accounts.argon2`."
    ),
]
LengthSetting = Annotated[int, Meta(ge=8, le=64, description="Shortest password, in characters.")]
WordsSetting = Annotated[
    tuple[Annotated[str, Meta(min_length=3, max_length=64)], ...],
    Meta(
        max_length=100,
        description="Words of which no password may be made, beside the namespace: names of the service, its company, "
        "its products.",
    ),
]
FilterSetting = Annotated[
    Annotated[str, Meta(min_length=1)] | None,
    Meta(
        description="File of leaked passwords that none may be, as `tollhouse accounts passwords build` writes it; "
        "one that takes its place is used at once."
    ),
]
