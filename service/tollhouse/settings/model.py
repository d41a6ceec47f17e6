"""The settings: types, defaults, and a sentence that explains each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from tollhouse.errors import ConfigurationError
from tollhouse.keyring import SECRET_BYTES_MIN
from tollhouse.keys import PREFIX, check_namespace
from tollhouse.logs import LogFormat, LogLevel
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.ai import AiSettings
from tollhouse.settings.leaf import Leaf, conform, leaves
from tollhouse.settings.networks import IPV6_PREFIX_BITS, check_ipv6_prefix, is_loopback, trusted_networks
from tollhouse.settings.passwords import FilterSetting, LengthSetting, ProfileSetting, WordsSetting
from tollhouse.settings.sessions import SessionSettings

_SECRET = {"secret": True}
_Secret = Annotated[bytes, Meta(min_length=SECRET_BYTES_MIN)]
_Key = Annotated[str, Meta(pattern="^[!-~]{16,}$")]
_Positive = Annotated[int, Meta(ge=1)]
_Timeout = Annotated[int, Meta(ge=100, le=3_600_000)]
_StoreUrl = Annotated[str | None, Meta(description="Another server or database for this store only.")]
_NEARBY_MS = 100
_ListEntry = Annotated[str, Meta(min_length=1)]

DatabaseMode = Literal["auto", "separate", "shared"]
"""Shared if the server has too few databases · one for each store · the same one for all."""
Dialect = Literal["draft-11", "draft-07", "draft-06", "x-ratelimit", "x-ratelimit-epoch", "off"]
"""How the RateLimit fields are written; `tollhouse.asgi.ratelimit.headers` explains each."""


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One policy in the words of the settings file; `Policy` is what they become."""

    limit: Annotated[str, Meta(description="The limits, such as `5/second; 100/minute`.")]
    algorithm: Annotated[
        str,
        Meta(
            description="How takes are counted: `sliding-window`, `sliding-window-counter`, `sliding-log`, "
            "`fixed-window`, `gcra`, or `concurrency`."
        ),
    ] = "sliding-window"
    on_outage: Annotated[
        str,
        Meta(description="While the store is down: `local` counts in each process, `open` admits, `closed` refuses."),
    ] = "local"
    shadow: Annotated[
        bool | None,
        Meta(description="Whether it only decides and counts, and never refuses; true if `shadow_of` is set."),
    ] = None
    shadow_of: Annotated[
        str | None,
        Meta(description="The policy of which this one is a shadow: it counts the same takes, and never refuses."),
    ] = None
    cost: Annotated[int, Meta(ge=0, description="Units of a take that does not say its cost.")] = 1
    key: Annotated[
        str | None, Meta(description="The key by which middleware counts, such as `address`, `user` or `header:NAME`.")
    ] = None
    allow: Annotated[
        tuple[_ListEntry, ...],
        Meta(description="Networks, such as 10.0.0.0/8, and whole keys that are never counted."),
    ] = ()
    deny: Annotated[
        tuple[_ListEntry, ...],
        Meta(description="Networks and whole keys that are always refused; it wins over `allow`."),
    ] = ()
    lease: Annotated[
        str,
        Meta(
            description="`auto`: each process takes units of busy keys in advance, and admits from them without the "
            "store. `off`: every take asks the store."
        ),
    ] = "off"

    def __post_init__(self) -> None:
        conform(self)


class LimitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rate limits; a policy here replaces the built-in policy of the same name."""

    enabled: Annotated[
        bool, Meta(description="Whether anything is limited. If not, every take is allowed and none is counted.")
    ] = True
    instances: Annotated[
        _Positive | None,
        Meta(
            description="Number of processes that share the limits, workers included; `local` divides by it. "
            "By default, `workers` in the service, and 1 in an app.",
        ),
    ] = None
    headers: Annotated[
        Dialect,
        Meta(
            description="Dialect of the RateLimit fields: draft-11, draft-07, draft-06, x-ratelimit, "
            "x-ratelimit-epoch, or off."
        ),
    ] = "draft-11"
    policies: Mapping[str, PolicySettings] = field(default_factory=dict[str, PolicySettings])

    def __post_init__(self) -> None:
        conform(self)


class CacheSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How results are cached."""

    enabled: Annotated[bool, Meta(description="Whether results are cached at all.")] = True
    ttl_s: Annotated[int, Meta(ge=1, le=30 * 86_400, description="Seconds for which a result is kept at most.")] = 3600
    key_prefix: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_.-]{1,64}\Z",
            description="First word of every cache key, before the namespace: ASCII letters, digits, `_.-`.",
        ),
    ] = PREFIX
    debug: Annotated[bool, Meta(description="Whether the cache logs each operation.")] = False

    def __post_init__(self) -> None:
        conform(self)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings; every value is checked, also if code constructs this."""

    url: Annotated[str, Meta(description="Server of the four stores; its database is the first of four.")] = (
        "embedded://"
    )
    sessions_url: _StoreUrl = None
    limits_url: _StoreUrl = None
    cache_url: _StoreUrl = None
    accounts_url: _StoreUrl = None
    databases: Annotated[
        DatabaseMode,
        Meta(
            description="Databases of the stores that follow from `url`: `separate`, `shared`, or `auto`, which shares "
            "if the server has too few or refuses SELECT; embedded servers have enough."
        ),
    ] = "auto"
    address_map: Annotated[
        tuple[_ListEntry, ...],
        Meta(
            description="Addresses that Sentinels announce, each with the one that is reached from here, as "
            "`172.18.0.3:6379=127.0.0.1:16379`.",
        ),
    ] = ()
    namespace: Annotated[
        str,
        Meta(
            description="Part of every key, one for each application on a server: up to 64 of a-z, A-Z, 0-9, `_.-`.",
            extra={"check": check_namespace},
        ),
    ] = ""
    secret: Annotated[
        tuple[_Secret, ...],
        Meta(description="Secrets of 32 bytes or more that derive every key, newest first.", extra=_SECRET),
    ] = ()
    service_key: Annotated[
        tuple[_Key, ...], Meta(description="Keys of calling services, 16 visible characters or more.", extra=_SECRET)
    ] = ()
    admin_key: Annotated[
        tuple[_Key, ...], Meta(description="Keys of administrators, 16 visible characters or more.", extra=_SECRET)
    ] = ()
    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes any free one.")] = 8000
    workers: Annotated[int, Meta(ge=1, le=64, description="Number of worker processes.")] = 1
    plain_http: Annotated[bool, Meta(description="Cookies without Secure, for development on loopback.")] = False
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Proxies whose forwarding fields are believed: networks, or `loopback` and `private`.",
            extra={"check": trusted_networks},
        ),
    ] = ()
    ipv6_prefix_bits: Annotated[
        int,
        Meta(
            description="Network by which an IPv6 client is counted: 64, or 56 or 48 if providers assign more to each.",
            extra={"check": check_ipv6_prefix},
        ),
    ] = IPV6_PREFIX_BITS
    body_bytes: Annotated[_Positive, Meta(description="Longest request body, in bytes.")] = 1024 * 1024
    head_bytes: Annotated[int, Meta(ge=1024, description="Longest request head, in bytes.")] = 16 * 1024
    head_timeout_ms: Annotated[
        _Timeout,
        Meta(description="Longest time in which a request head arrives, from the connection or its first byte."),
    ] = 10_000
    body_timeout_ms: Annotated[_Timeout, Meta(description="Longest time in which a request body arrives.")] = 60_000
    idle_timeout_ms: Annotated[
        _Timeout,
        Meta(description="Longest time between two requests of a connection, or until a client reads its response."),
    ] = 75_000
    connections_max: Annotated[
        _Positive,
        Meta(
            description="Most connections of each worker, or 128 less than the descriptors that it may open; "
            "those above get 503."
        ),
    ] = 10_000
    deadline_ms: Annotated[_Positive, Meta(description="Deadline of a store call.")] = 1000
    round_trip_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=5_000,
            description="Longest usual round trip to the stores; times of connecting and of discovery grow with it.",
        ),
    ] = _NEARBY_MS
    max_unreplicated_ms: Annotated[
        Annotated[int, Meta(ge=200, le=3_600_000)] | None,
        Meta(
            description="How long a primary is used that no replica acknowledges; then calls fail until one does. "
            "By default, for ever."
        ),
    ] = None
    strict: Annotated[
        bool,
        Meta(
            description="Whether calls fail while a server refuses what only a change of the setup mends, such as a "
            "wrong password; else they do as in an outage, and limits count in each process."
        ),
    ] = False
    password_profile: ProfileSetting = "default"  # noqa: S105 - a name, not a password
    password_length_min: LengthSetting = 15
    password_words: WordsSetting = ()
    password_filter: FilterSetting = None
    log_level: Annotated[LogLevel, Meta(description="Lowest level that is logged: debug, info, warning or error.")] = (
        "info"
    )
    log_format: Annotated[LogFormat, Meta(description="`json`, `text`, or `auto`: text on a terminal, else JSON.")] = (
        "auto"
    )
    limits: LimitSettings = field(default_factory=LimitSettings)
    sessions: SessionSettings = field(default_factory=SessionSettings)
    accounts: AccountSettings = field(default_factory=AccountSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    ai: AiSettings = field(default_factory=AiSettings)

    def __post_init__(self) -> None:
        conform(self)
        if self.plain_http and not is_loopback(self.host):
            remedy = "cookies without Secure stay on this machine; listen on 127.0.0.1 or drop plain_http"
            raise ConfigurationError("plain_http", f"with host {self.host}", remedy)
        if self.deadline_ms < self.round_trip_ms > _NEARBY_MS:
            remedy = f"no answer comes in less than round_trip_ms ({self.round_trip_ms}); set it to three times that"
            raise ConfigurationError("deadline_ms", self.deadline_ms, remedy)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={text}" for name, text in describe(self).items())
        return f"Settings({shown})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return list(describe(self).items())

    def store_urls(self) -> dict[str, str | None]:
        """Return the URL that is set for each store; None means that `url` applies."""
        return {
            "sessions": self.sessions_url,
            "limits": self.limits_url,
            "cache": self.cache_url,
            "accounts": self.accounts_url,
        }


def describe(settings: Settings) -> dict[str, str]:
    """Return every setting by its name in the file, as text without secrets."""
    return {name: leaf.shown(value) for name, leaf, value in _values(settings, "")}


def differences(one: Settings, other: Settings) -> tuple[str, ...]:
    """Return the names of the settings that differ, secrets and settings that only one of them has included."""
    values, others = ({name: value for name, _, value in _values(settings, "")} for settings in (one, other))
    return tuple(
        name
        for name in dict.fromkeys([*values, *others])
        if name not in values or name not in others or values[name] != others[name]
    )


def _values(struct: Struct, prefix: str) -> Iterator[tuple[str, Leaf, Any]]:
    own = {leaf.path[0]: leaf for leaf in leaves(type(struct)) if len(leaf.path) == 1}
    for name in struct.__struct_fields__:
        inner: Any = getattr(struct, name)
        if name in own:
            yield prefix + name, own[name], inner
        elif isinstance(inner, Struct):
            yield from _values(inner, f"{prefix}{name}.")
        else:
            for chosen, entry in inner.items():
                yield from _values(entry, f"{prefix}{name}.{chosen}.")
