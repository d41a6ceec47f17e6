"""Settings of accounts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from tollhouse.settings.leaf import conform
from tollhouse.settings.throttle import ThrottleSettings


class AccountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accounts: who may sign up, and how guesses are throttled."""

    sign_up: Annotated[
        bool,
        Meta(description="Whether any client may sign up over HTTP. If not, `POST /v1/accounts` needs a service key."),
    ] = True
    throttle: ThrottleSettings = field(default_factory=ThrottleSettings)

    def __post_init__(self) -> None:
        conform(self)
