"""The limiter of an application, with what applies to all its requests: policies, proxies, dialect and sessions."""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from tollhouse import wiring
from tollhouse.asgi.client_address import ClientAddresses
from tollhouse.asgi.credentials import cookie_name
from tollhouse.asgi.ratelimit.headers import RateLimitFields, WallClock
from tollhouse.asgi.ratelimit.refusal_response import RefusalRenderer
from tollhouse.errors import ConfigurationError
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import policies_from_settings
from tollhouse.limits.policy.definition import PolicyDefinition, policies_in_code
from tollhouse.limits.policy.policy import Policy
from tollhouse.metrics import Metrics
from tollhouse.runtime.home_loop import asyncio_loop
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings, naming
from tollhouse.settings.model import Dialect
from tollhouse.settings.networks import trusted_networks
from tollhouse.wiring import Tollhouse
from tollhouse.wiring.per_loop import PerLoop

_SHARED_MAX: Final = 256
_DEFAULTS: Final[WeakKeyDictionary[AbstractEventLoop, dict[Callable[[], Settings | None], LimiterSource]]] = (
    WeakKeyDictionary()
)


class LimiterSource:
    """A limiter that is open already and stays its owner's to close, or one that opens on first use in each event loop.

    `policies` are those known when the source was made; the limiter may get others later. `per_loop` is None if the
    limiter was given open. `has_sessions` is true if sessions can be verified; `cookie` is the name of their cookie.
    """

    def __init__(
        self,
        limiter: Limiter | Tollhouse | PerLoop,
        *,
        policies: Mapping[str, Policy],
        dialect: Dialect = "draft-11",
        clients: ClientAddresses | None = None,
        has_sessions: bool = False,
        plain_http: bool = False,
        wall: WallClock = time.time,
    ) -> None:
        self.policies = policies
        self.fields = RateLimitFields(dialect, wall)
        self.refusals = RefusalRenderer(self.fields)
        self.clients = ClientAddresses() if clients is None else clients
        self.has_sessions = has_sessions
        self.cookie = cookie_name(plain_http=plain_http)
        self.per_loop = limiter if isinstance(limiter, PerLoop) else None
        self._tollhouse = limiter if isinstance(limiter, Tollhouse) else None
        opened = limiter.limits if isinstance(limiter, Tollhouse) else limiter
        self._limiter = None if isinstance(opened, PerLoop) else opened

    def opened_limiter(self) -> Limiter | None:
        """Return the limiter of the running event loop, or None if it has to be opened first."""
        if self.per_loop is None:
            return self._limiter
        tollhouse = self.per_loop.opened()
        return None if tollhouse is None else tollhouse.limits

    async def limiter(self) -> Limiter:
        """Return the limiter of the running event loop; open it on first use."""
        return self.opened_limiter() or (await self._open()).limits

    async def sessions(self) -> Sessions:
        """Return the sessions of the running event loop; call it only if `has_sessions` is true."""
        return (await self._open()).sessions

    async def tollhouse(self) -> Tollhouse | None:
        """Return the Tollhouse of the running event loop, opened on first use; None if a limiter alone was given."""
        return self._tollhouse if self.per_loop is None else await self.per_loop.open()

    async def aclose(self) -> None:
        """Close what this source opened in the running event loop, and nothing else."""
        if self.per_loop is not None:
            await self.per_loop.aclose()

    async def _open(self) -> Tollhouse:
        tollhouse = await self.tollhouse()
        assert tollhouse is not None
        return tollhouse


def limiter_source(
    target: Limiter | Tollhouse | Settings | str | None,
    *,
    namespace: str | None = None,
    policies: Mapping[str, PolicyDefinition] | None = None,
    dialect: Dialect | None = None,
    trusted_proxies: Sequence[str] | None = None,
    ipv6_prefix_bits: int | None = None,
    metrics: Metrics | None = None,
    strict: bool | None = None,
) -> LimiterSource:
    """Return the source for an open limiter or Tollhouse, or for the URL or the settings of one to open later.

    None stands for the settings of `tollhouse.load_settings()`, which are read here, once. Proxies, dialect and
    sessions are those of the settings, whether the Tollhouse is open already or not; arguments given here replace the
    settings. A limiter alone has no settings. Raises ConfigurationError or InvalidInput for what cannot be used, before
    anything connects.
    """
    if not isinstance(target, Settings | str | None):
        _refuse_for_open(namespace=namespace, policies=sorted(policies or ()), strict=strict)
    _require_target(target)
    if not isinstance(target, Tollhouse | Settings | str | None):
        clients = _clients(Settings(), trusted_proxies, ipv6_prefix_bits)
        return LimiterSource(target, policies=target.policies, dialect=dialect or "draft-11", clients=clients)
    if isinstance(target, Tollhouse):
        settings, limiter, known = target.settings, target, target.limits.policies
    else:
        settings, own = wiring.settings_for(target, namespace, strict=strict), policies_in_code(policies)
        shared = Metrics() if metrics is None else metrics  # one for all event loops
        limiter = PerLoop(lambda: wiring.open(settings, policies=own, metrics=shared))
        known = policies_from_settings(settings, own)
    return LimiterSource(
        limiter,
        policies=known,
        dialect=dialect or settings.limits.headers,
        clients=_clients(settings, trusted_proxies, ipv6_prefix_bits),
        has_sessions=wiring.has_secret(settings, wiring.store_urls(settings)),
        plain_http=settings.plain_http,
        wall=wiring.wall_clock(settings),
    )


def source_if_given(
    target: Limiter | Tollhouse | Settings | str | None, namespace: str | None = None, *, strict: bool | None = None
) -> LimiterSource | None:
    """Return the source for what is given, as `limiter_source` does, or None; raise for the rest alone.

    Functions and routes that give the same URL or settings share one source, and so the connections of each event loop.
    """
    if isinstance(target, Settings | str):
        with naming({"url": "limiter"} if isinstance(target, str) else {}):
            return _source_for(wiring.settings_for(target, namespace, strict=strict))
    if target is not None:
        return limiter_source(target, namespace=namespace, strict=strict)
    for name, value in (("namespace", namespace), ("strict", strict)):
        if value is not None:
            raise ConfigurationError(name, value, "it is that of a limiter to open; give its URL as `limiter`")
    return None


def default_source(read: Callable[[], Settings | None]) -> LimiterSource | None:
    """Return the source for the settings that `read` returns, or None if it returns none.

    They are read once in each event loop. Equal settings share one source.
    """
    sources = _DEFAULTS.setdefault(asyncio_loop(), {})
    if read not in sources and (settings := read()) is not None:
        sources[read] = _source_for(settings)
    return sources.get(read)


def _source_for(settings: Settings) -> LimiterSource:
    return _shared_source(msgspec.msgpack.encode(settings))


@lru_cache(maxsize=_SHARED_MAX)
def _shared_source(settings: bytes) -> LimiterSource:
    return limiter_source(msgspec.msgpack.decode(settings, type=Settings))


def _clients(settings: Settings, proxies: Sequence[str] | None, ipv6_prefix_bits: int | None) -> ClientAddresses:
    """Return what finds the clients of requests; an argument that is given replaces the setting."""
    return ClientAddresses(
        trusted_networks(settings.trusted_proxies if proxies is None else proxies),
        ipv6_prefix_bits=settings.ipv6_prefix_bits if ipv6_prefix_bits is None else ipv6_prefix_bits,
    )


def _require_target(target: object) -> None:
    if not isinstance(target, Limiter | Tollhouse | Settings | str | None):
        remedy = "give a limiter, an open Tollhouse, its settings or its URL"
        raise ConfigurationError("limiter", type(target).__name__, remedy)


def _refuse_for_open(**given: object) -> None:
    """Raise ConfigurationError for an argument that only a limiter to open could follow."""
    for name, value in given.items():
        if value:
            raise ConfigurationError(name, value, "a limiter that is open has its own; drop it")
