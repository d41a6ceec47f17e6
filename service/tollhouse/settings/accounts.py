"""Settings of accounts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tollhouse.settings.leaf import conform


class AccountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accounts: who may sign up."""

    sign_up: Annotated[
        bool,
        Meta(description="Whether any client may sign up over HTTP. If not, `POST /v1/accounts` needs a service key."),
    ] = True

    def __post_init__(self) -> None:
        conform(self)
