"""Settings of passkeys: the domain that they are for, and the origins of its pages."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tollhouse.settings.leaf import conform


class PasskeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Passkeys, with which users log in and authenticate again; they take the extra `webauthn`."""

    rp_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=253)] | None,
        Meta(
            description="Domain that passkeys are for, such as `example.com`: those of another one open nothing. "
            "Unset, there are none; with `plain_http` it is `localhost`."
        ),
    ] = None
    rp_name: Annotated[
        str,
        Meta(min_length=1, max_length=64, description="Name of the service, which some browsers show."),
    ] = "Tollhouse"
    origins: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=300)], ...],
        Meta(
            max_length=20,
            description="Origins of the pages that may ask for passkeys, such as `https://login.example.com`. By "
            "default, `https://` and the domain.",
        ),
    ] = ()

    def __post_init__(self) -> None:
        conform(self)
