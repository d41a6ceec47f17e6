"""Where the limits of an application come from, and how its clients are told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tollhouse import wiring
from tollhouse.asgi.per_loop import PerLoop
from tollhouse.asgi.ratelimit.headers import Dialect
from tollhouse.errors import ConfigurationError
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.configured import policies_from_settings
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.metrics import Metrics
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Network, Settings, secret_needed, trusted_networks
from tollhouse.wiring import Tollhouse


class LimiterSource:
    """A limiter, be it one that its owner opened and closes, or one that opens here for each event loop that asks.

    `policies` are those that were known when it was made. `has_sessions` tells whether it can verify sessions too.
    """

    def __init__(
        self,
        given: Limiter | PerLoop,
        *,
        policies: Mapping[str, Policy],
        dialect: Dialect = "draft-11",
        trusted: Sequence[Network] = (),
        has_sessions: bool = False,
    ) -> None:
        self.policies = policies
        self.dialect: Dialect = dialect
        self.trusted = trusted
        self.has_sessions = has_sessions
        self.per_loop = given if isinstance(given, PerLoop) else None
        self._limiter = None if isinstance(given, PerLoop) else given

    def opened_limiter(self) -> Limiter | None:
        """Give the limiter for the running event loop, if nothing has to be opened for it."""
        if self.per_loop is None:
            return self._limiter
        tollhouse = self.per_loop.opened()
        return None if tollhouse is None else tollhouse.limits

    async def limiter(self) -> Limiter:
        """Give the limiter for the running event loop."""
        return self.opened_limiter() or (await self._open()).limits

    async def sessions(self) -> Sessions:
        """Give the sessions for the running event loop, where `has_sessions` says that there are any."""
        return (await self._open()).sessions

    async def aclose(self) -> None:
        """Close what was opened here for the running event loop, and nothing else."""
        if self.per_loop is not None:
            await self.per_loop.aclose()

    async def _open(self) -> Tollhouse:
        assert self.per_loop is not None
        return await self.per_loop.open()


def limiter_source(
    given: Limiter | Tollhouse | Settings | str,
    *,
    policies: Mapping[str, str] | None = None,
    dialect: Dialect | None = None,
    trusted_proxies: Sequence[str] = (),
    metrics: Metrics | None = None,
) -> LimiterSource:
    """Make a source of what users give: something open, or the URL or the settings of what shall be opened.

    Raises ConfigurationError or InvalidInput for what cannot be used, before anything connects.
    """
    trusted = trusted_networks(trusted_proxies)
    if not isinstance(given, Settings | str):
        if policies:
            raise ConfigurationError("policies", sorted(policies), "a limiter that is open has its own; drop them")
        limiter = given.limits if isinstance(given, Tollhouse) else given
        return LimiterSource(limiter, policies=limiter.policies, dialect=dialect or "draft-11", trusted=trusted)
    settings = Settings(url=given) if isinstance(given, str) else given
    shared = Metrics() if metrics is None else metrics
    wiring.store_urls(settings)
    named = {name: parse_policy(name, text) for name, text in (policies or {}).items()}
    return LimiterSource(
        PerLoop(lambda: wiring.open(settings, policies=policies, metrics=shared)),
        policies={**policies_from_settings(settings), **named},
        dialect=dialect or settings.limits.headers,
        trusted=trusted or trusted_networks(settings.trusted_proxies),
        has_sessions=not secret_needed(settings),
    )
