"""Settings of sessions: their policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from tollhouse.errors import ConfigurationError
from tollhouse.settings.leaf import conform
from tollhouse.suggest import one_of

_LEVELS: Final = ("aal1", "aal2", "aal3")
_Level = Annotated[str, Meta(pattern=r"^(?!-\Z)[!#-\[\]-~]{1,128}\Z")]
_Duration = Annotated[int, Meta(ge=1_000)]


class SessionPolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One policy of sessions in the words of the settings file; `SessionPolicy` is what they become."""

    idle_ms: Annotated[_Duration, Meta(description="How long a session lasts that is not used.")]
    absolute_ms: Annotated[_Duration, Meta(description="How long a session lasts after its login, at most 400 days.")]
    cap: Annotated[int, Meta(ge=1, le=1_000, description="Most sessions of a user at a time.")] = 20
    at_cap: Annotated[
        Literal["evict-oldest", "refuse", "ask"],
        Meta(
            description="At the cap a login ends the session that would expire first, `evict-oldest`; or `refuse`; or "
            "`ask`, which lets the user choose what ends."
        ),
    ] = "evict-oldest"
    renew_ms: Annotated[
        Annotated[int, Meta(ge=60_000)] | None,
        Meta(description="Age at which the token of a session is replaced; by default, never."),
    ] = None
    on_idle: Annotated[
        Literal["end", "lock"],
        Meta(description="What becomes of a session that is idle for too long: `end`, or `lock` until a step-up."),
    ] = "end"
    cookie: Annotated[
        Literal["session", "persistent"],
        Meta(description="Whether the cookie lasts until the browser closes, or until the end of the session."),
    ] = "session"
    same_site: Annotated[
        Literal["lax", "strict"],
        Meta(description="SameSite of the cookie: whether links of other sites come with it."),
    ] = "lax"

    def __post_init__(self) -> None:
        conform(self)


class SessionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sessions; a policy here replaces the built-in policy of the same name, as a whole."""

    acr_levels: Annotated[
        Annotated[tuple[_Level, ...], Meta(min_length=1)],
        Meta(description="Levels of authentication, the weakest first: that is the one that a password reaches."),
    ] = _LEVELS
    acr: Annotated[
        str | None, Meta(description="Level that every route of users asks for, one of `acr_levels`. By default, any.")
    ] = None
    recent_auth_s: Annotated[
        int,
        Meta(
            ge=1,
            le=400 * 86_400,
            description="Seconds for which an authentication is recent enough to end other sessions of the user.",
        ),
    ] = 3600
    policies: Mapping[str, SessionPolicySettings] = field(default_factory=dict[str, SessionPolicySettings])

    def __post_init__(self) -> None:
        conform(self)
        if self.acr is not None and self.acr not in self.acr_levels:
            raise ConfigurationError("sessions.acr", self.acr, one_of(self.acr, self.acr_levels))
