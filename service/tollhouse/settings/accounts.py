"""Settings of accounts: who may sign up, and what hashing their passwords may take."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from tollhouse.settings.leaf import conform
from tollhouse.settings.passkeys import PasskeySettings
from tollhouse.settings.throttle import ThrottleSettings
from tollhouse.settings.totp import TotpSettings


class Argon2Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of the profile `own`; the defaults are those of `default`."""

    memory_kib: Annotated[
        int,
        Meta(
            ge=12_288,
            le=4_194_304,
            description='Memory of a hash with `password_profile = "own"`, in KiB: at least 47,104 with one pass, '
            "19,456 with two, 12,288 with more.",
        ),
    ] = 65_536
    time_cost: Annotated[int, Meta(ge=1, le=10, description="Passes over that memory.")] = 3
    parallelism: Annotated[int, Meta(ge=1, le=8, description="Threads of a hash.")] = 1

    def __post_init__(self) -> None:
        conform(self)


class AccountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accounts: who may sign up, what hashes may take, how guesses are throttled, reset tokens, factors, passkeys."""

    sign_up: Annotated[
        bool,
        Meta(description="Whether any client may sign up over HTTP. If not, `POST /v1/accounts` needs a service key."),
    ] = True
    hash_memory_mib: Annotated[
        int,
        Meta(
            ge=12,
            le=1_048_576,
            description="Memory that the hashes of one process may take together, in MiB. A stored hash that needs "
            "more is not verified.",
        ),
    ] = 256
    argon2: Argon2Settings = field(default_factory=Argon2Settings)
    throttle: ThrottleSettings = field(default_factory=ThrottleSettings)

    reset_ms: Annotated[
        int,
        Meta(ge=600_000, le=3_600_000, description="How long a token for a forgotten password is good."),
    ] = 1_800_000

    totp: TotpSettings = field(default_factory=TotpSettings)
    passkeys: PasskeySettings = field(default_factory=PasskeySettings)

    def __post_init__(self) -> None:
        conform(self)
