"""The one place where stores and features meet: settings in, a working Tollhouse out."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from msgspec.structs import replace

from tollhouse import keys, scripts
from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.hashing import PROFILES
from tollhouse.accounts.passwords import Passwords
from tollhouse.accounts.rules import PasswordRules
from tollhouse.ai.langid import langid
from tollhouse.ai.models import Models
from tollhouse.ai.results import Results
from tollhouse.cache.cache import Cache
from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring
from tollhouse.limits.calls.refusal_cache import KEYS_MAX
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import instances_from_settings, policies_from_settings, policy_changes
from tollhouse.limits.policy.policy import Policy
from tollhouse.metrics import Metrics
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import PolicySettings, Settings, load
from tollhouse.settings.watch import SettingsWatcher
from tollhouse.stores.opening import AnyStore, Stores, open_stores
from tollhouse.stores.urls import EmbeddedClusterTarget, EmbeddedTarget, FakeTarget, StoreName, StoreUrl, urls_by_store

_FILE_BESIDE_DATA: Final = "secret"


class Tollhouse:
    """Limits, sessions, cache, AI results and accounts over the stores of one configuration.

    Nothing connects before it is used. `aclose` ends what this object started, and nothing else.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policies: Mapping[str, str] | None = None,
        models: Models | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._own_policies = policies
        self.settings = with_policies(settings, policies)
        self.metrics = Metrics() if metrics is None else metrics
        self.models = Models() if models is None else models
        self.policies = policies_from_settings(self.settings)
        self._watch_task: asyncio.Task[None] | None = None
        self._urls = store_urls(settings)
        self._keyring: Keyring | None = None
        self.stores: Stores = open_stores(
            self._urls,
            scripts.load(),
            self.metrics,
            deadline_s=settings.deadline_ms / 1000,
            embedded_binary=embedded_binary(),
        )

    @property
    def keyring(self) -> Keyring:
        """The keys of this deployment; made or read when first asked for."""
        if self._keyring is None:
            self._keyring = Keyring(secrets=resolve_secrets(self.settings, self._urls))
        return self._keyring

    @cached_property
    def limits(self) -> Limiter:
        """Rate limits."""
        instances = instances_from_settings(self.settings)
        return open_limiter(self.stores.limits, self.policies, self.keyring, self.metrics, instances=instances)

    @cached_property
    def sessions(self) -> Sessions:
        """Sessions; raises ConfigurationError where no secret is configured."""
        return open_sessions(self.stores.sessions, self.keyring, self.metrics)

    @cached_property
    def cache(self) -> Cache:
        """Cached results."""
        chosen = self.settings.cache
        return Cache(
            self.stores.cache,
            self.keyring,
            self.metrics,
            enabled=chosen.enabled,
            prefix=chosen.key_prefix,
            ttl_ms=chosen.ttl_s * 1000,
        )

    @cached_property
    def results(self) -> Results:
        """Results of AI models, from the cache where they are there."""
        return Results(self.cache, self.models)

    @cached_property
    def accounts(self) -> Accounts:
        """Accounts and logins."""
        return Accounts(
            self.stores.accounts,
            self.sessions,
            self.limits,
            self._passwords,
            self.keyring,
            self.metrics,
            rules=PasswordRules(self.settings.password_length_min),
        )

    @cached_property
    def _passwords(self) -> Passwords:
        return Passwords(self.keyring, self.metrics, profile=PROFILES[self.settings.password_profile])

    async def watch(self, path: Path) -> SettingsWatcher:
        """Follow the policies of a settings file from now on, in place of one that was followed before.

        Before this returns, the file has been looked at once. What its policies count stays; those given to `open`
        hold over those of the file. A file that cannot be used is logged and changes nothing.
        """
        await self._stop_watching()
        watch = SettingsWatcher(
            path, lambda path: load(os.environ, path), self._apply_policies, self.metrics.settings_read
        )
        await watch.check()
        self._watch_task = asyncio.create_task(watch.run(), name="tollhouse-settings")
        return watch

    async def aclose(self) -> None:
        """End connections, worker threads and the embedded servers that this object started."""
        await self._stop_watching()
        if "_passwords" in vars(self):
            self._passwords.close()
        if "cache" in vars(self):
            await self.cache.aclose()
        if "limits" in vars(self):
            await self.limits.aclose()
        self.models.close()
        await self.stores.aclose()

    def _apply_policies(self, settings: Settings) -> dict[str, str]:
        """Let the policies of `settings` hold from now on; name those that came, differ, and went."""
        taken_up = policies_from_settings(with_policies(settings, self._own_policies))
        differing = policy_changes(self.policies, taken_up)
        if "limits" in vars(self):
            self.limits.replace_policies(taken_up)
        self.policies = taken_up
        return {
            "added": ", ".join(differing.added),
            "changed": ", ".join(differing.changed),
            "removed": ", ".join(differing.removed),
        }

    async def _stop_watching(self) -> None:
        following, self._watch_task = self._watch_task, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def open(  # noqa: A001 - the verb that users know: `async with tollhouse.open(url)`
    target: str | Settings = Settings(),  # noqa: B008 - frozen
    *,
    policies: Mapping[str, str] | None = None,
    models: Models | None = None,
    metrics: Metrics | None = None,
) -> Tollhouse:
    """Open Tollhouse on a store URL or on settings; `policies` adds limits such as {"api": "100/minute"}.

    Raises ConfigurationError for what cannot be used; connects when first used.
    """
    settings = Settings(url=target) if isinstance(target, str) else target
    return Tollhouse(settings, policies=policies, models=models, metrics=metrics)


def with_policies(settings: Settings, policies: Mapping[str, str] | None) -> Settings:
    """Return the settings with policies that the code adds; these replace policies of the same name."""
    if not policies:
        return settings
    added = {name: PolicySettings(limit=limit) for name, limit in policies.items()}
    limits = replace(settings.limits, policies={**settings.limits.policies, **added})
    return replace(settings, limits=limits)


def open_limiter(
    store: AnyStore, policies: Mapping[str, Policy], keyring: Keyring, metrics: Metrics, *, instances: int = 1
) -> Limiter:
    """Give a limiter that remembers who was refused, and hears of it where units come back elsewhere."""
    limiter = Limiter(store, policies, keyring, metrics, instances=instances, refusals_max=KEYS_MAX)
    refusals = limiter.refusals
    store.listen(keys.rate_clearings(), refusals.on_cleared, refusals.on_gap, refusals.on_subscribed)
    return limiter


def open_sessions(
    store: AnyStore, keyring: Keyring, metrics: Metrics, *, revocation_log: RevocationLog | None = None
) -> Sessions:
    """Give sessions that hear of what ends elsewhere, and repeat what ended lately on a new primary."""
    sessions = Sessions(store, keyring, metrics, revocation_log=revocation_log)
    store.on_new_primary(sessions.replay_revocations)
    store.listen(keys.session_revocations(), sessions.on_revocation, sessions.on_gap)
    return sessions


def store_urls(settings: Settings) -> dict[StoreName, StoreUrl]:
    """Say where each of the four stores is."""
    return urls_by_store(settings.url, settings.store_urls())


def resolve_secrets(settings: Settings, urls: Mapping[StoreName, StoreUrl]) -> tuple[bytes, ...]:
    """Give the configured secrets; for servers of our own, the one kept beside their data or a new one.

    Any other server gives none: limits and cache then use plain digests, and sessions refuse to open.
    """
    if settings.secret:
        return settings.secret
    if not all(
        isinstance(place.target, EmbeddedTarget | EmbeddedClusterTarget | FakeTarget) for place in urls.values()
    ):
        return ()
    target = urls["sessions"].target
    if isinstance(target, EmbeddedTarget) and target.path is not None:
        return (persistent_secret(Path(target.path) / _FILE_BESIDE_DATA),)
    return (secrets.token_bytes(32),)


def embedded_binary() -> Path | None:
    """Give the server that TOLLHOUSE_EMBEDDED_BINARY names in place of the one that came along."""
    named = os.environ.get("TOLLHOUSE_EMBEDDED_BINARY")
    return Path(named) if named else None


def installed_models() -> Models:
    """Give the models that this installation can run: `langid` with the extra `demo`, else none."""
    found = langid()
    return Models(() if found is None else (found,))


def verbose_loggers(settings: Settings) -> tuple[str, ...]:
    """Name the loggers that tell everything, whatever the level."""
    return ("tollhouse.cache",) if settings.cache.debug else ()


def persistent_secret(path: Path) -> bytes:
    """Read the secret beside persistent data, or make it, readable by its owner alone."""
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
            with suppress(FileExistsError):
                os.link(fresh, path)  # whole or not at all: another process never reads half a secret
            fresh.unlink()
        return bytes.fromhex(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError("TOLLHOUSE_SECRET_FILE", str(path), f"the kept secret is unusable: {error}") from error
