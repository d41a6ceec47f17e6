"""Settings of accounts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from tollhouse.settings.leaf import conform
from tollhouse.settings.throttle import ThrottleSettings


class AccountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accounts: who may sign up, how guesses are throttled, and how long a token for a forgotten password is good."""

    sign_up: Annotated[
        bool,
        Meta(description="Whether any client may sign up over HTTP. If not, `POST /v1/accounts` needs a service key."),
    ] = True
    throttle: ThrottleSettings = field(default_factory=ThrottleSettings)

    reset_ms: Annotated[
        int,
        Meta(ge=600_000, le=3_600_000, description="How long a token for a forgotten password is good."),
    ] = 1_800_000

    def __post_init__(self) -> None:
        conform(self)
