"""Tollhouse: every feature over the stores of one configuration, and how it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Context
from functools import cached_property
from pathlib import Path
from typing import Self

from msgspec.structs import asdict

from tollhouse import scripts
from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.credentials.credentials import CredentialStore
from tollhouse.accounts.hashing.cost import hashing_cost
from tollhouse.accounts.hashing.costs import HashCosts
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.ai.models import Models
from tollhouse.ai.results import Results
from tollhouse.cache.cache import Cache
from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import (
    policies_after_reload,
    policies_from_settings,
    policy_changes,
)
from tollhouse.limits.policy.definition import PolicyDefinition, policies_in_code
from tollhouse.logs import log_everything
from tollhouse.metrics import Metrics
from tollhouse.sessions import policies as sessions
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings
from tollhouse.settings.credentials import CredentialsFunction
from tollhouse.settings.enabled import report_off, turned_off
from tollhouse.settings.watch import SettingsWatcher
from tollhouse.stores.discovery.timing import resolver_timing
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.status import ConnectionState, check_store
from tollhouse.stores.transport.redial import connection_timing
from tollhouse.stores.urls import StoreName
from tollhouse.suggest import one_of
from tollhouse.wiring.accounts import checked_store, open_accounts
from tollhouse.wiring.configuration import load_settings, settings_for
from tollhouse.wiring.features import (
    CACHE,
    open_limiter,
    open_passwords,
    open_sessions,
    password_rules,
)
from tollhouse.wiring.models import models_from_settings
from tollhouse.wiring.passkeys import open_ceremonies
from tollhouse.wiring.servers import embedded_binary, resolve_secrets, store_urls


class Tollhouse:
    """Limits, sessions, cache, AI results and accounts over the stores of one configuration.

    Nothing connects before it is used. `aclose` closes what this object opened, and nothing else.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policies: Mapping[str, PolicyDefinition] | None = None,
        models: Models | None = None,
        metrics: Metrics | None = None,
        credentials: CredentialsFunction | None = None,
        credential_store: CredentialStore | None = None,
    ) -> None:
        for sentence in turned_off(settings):
            report_off(sentence)
        if settings.cache.debug:
            log_everything("tollhouse.cache")
        self._own_policies = policies_in_code(policies)
        self.settings = settings
        self.metrics = Metrics() if metrics is None else metrics
        self._own_models = models
        self._own_credentials = checked_store(credential_store)
        self.policies = policies_from_settings(settings, self._own_policies)
        self._session_policies = sessions.policies_from_settings(settings)
        self._password_rules = password_rules(settings)
        self._hashing_cost = hashing_cost(settings)
        self._ceremonies = open_ceremonies(settings)
        self._watch_task: asyncio.Task[None] | None = None
        self._caches: dict[str, Cache] = {}
        self.namespace = Namespace(settings.namespace)
        self._urls = store_urls(settings)
        self.stores: Stores = open_stores(
            self._urls,
            scripts.load(),
            self.metrics,
            namespace=self.namespace,
            deadline_s=settings.deadline_ms / 1000,
            embedded_binary=embedded_binary(),
            credentials=credentials,
            timing=connection_timing(settings.round_trip_ms, settings.max_unreplicated_ms),
            resolver_timing=resolver_timing(settings.round_trip_ms),
            strict=settings.strict,
        )

    @cached_property
    def keyring(self) -> Keyring:
        """The keys of this deployment; secrets are read or generated at first use."""
        return Keyring(secrets=resolve_secrets(self.settings, self._urls))

    @cached_property
    def limits(self) -> Limiter:
        """Rate limits."""
        return open_limiter(
            self.stores.limits,
            self.policies,
            self.keyring,
            self.metrics,
            namespace=self.namespace,
            instances=self.settings.limits.instances or 1,
            enabled=self.settings.limits.enabled,
            time=self.stores.times["limits"],
        )

    @cached_property
    def sessions(self) -> Sessions:
        """Sessions; raises ConfigurationError if there is no secret."""
        policies, time = self._session_policies, self.stores.times["sessions"]
        return open_sessions(
            self.stores.sessions, self.keyring, self.metrics, policies, namespace=self.namespace, time=time
        )

    @property
    def cache(self) -> Cache:
        """Cached results."""
        return self.cache_with(self.settings.cache.key_prefix)

    def cache_with(self, prefix: str) -> Cache:
        """Return the cache whose keys begin with a prefix, one for each; it is closed with this object."""
        if prefix in self._caches:
            return self._caches[prefix]
        chosen, time = self.settings.cache, self.stores.times["cache"]
        cache = Cache(
            self.stores.cache,
            self.keyring,
            self.metrics,
            enabled=chosen.enabled,
            prefix=prefix,
            namespace=self.namespace,
            ttl_ms=chosen.ttl_s * 1000,
            monotonic=time.monotonic_ms,
            sleep=time.sleep,
        )
        CACHE.add(cache)
        self._caches[prefix] = cache
        return cache

    @cached_property
    def models(self) -> Models:
        """The models of `results`: those given, else those of the settings, whose functions are imported now."""
        return models_from_settings(self.settings) if self._own_models is None else self._own_models

    @cached_property
    def results(self) -> Results:
        """Results of AI models, cached."""
        return Results(self.cache, self.models)

    @cached_property
    def accounts(self) -> Accounts:
        """Accounts and logins."""
        return open_accounts(
            self.settings,
            self.stores,
            self.sessions,
            self.limits,
            self._passwords,
            self.keyring,
            self.metrics,
            rules=self._password_rules,
            namespace=self.namespace,
            ceremonies=self._ceremonies,
            credential_store=self._own_credentials,
        )

    @cached_property
    def _passwords(self) -> Passwords:
        store, time = self.stores.accounts, self.stores.times["accounts"]
        costs = HashCosts(store, self.namespace, monotonic=time.monotonic_ms)
        return open_passwords(self._hashing_cost, self.keyring, self.metrics, costs)

    async def connection(self, store: StoreName) -> ConnectionState:
        """Return `connected` if a store answers and can be written to, else `disconnected`: for health checks.

        `store` is `sessions`, `limits`, `cache` or `accounts`. It takes up to `deadline_ms`, and raises nothing else.
        """
        stores = {one.name: one for one in self.stores.all()}
        if store not in stores:
            raise InvalidInput("store", store, one_of(store, stores))
        return (await check_store(stores[store])).connection

    async def watch(self, path: Path) -> SettingsWatcher:
        """Apply the policies of a settings file whenever it changes; a file that was watched before is not any more.

        The file is checked once before this returns. Counters survive a change of policies. Policies given to `open`
        replace those of the file, and those that are gone from it stay in force until a restart: code and clients name
        them. A file that cannot be used is logged and changes nothing.
        """
        await self._stop_watching()
        watch = SettingsWatcher(path, load_settings, self._apply_policies, self.metrics.settings_read)
        await watch.check()
        self._watch_task = asyncio.create_task(watch.run(), name="tollhouse-settings", context=Context())
        return watch

    async def aclose(self) -> None:
        """Close connections, and stop the worker threads and embedded servers that this object started."""
        await self._stop_watching()
        if "_passwords" in vars(self):
            self._passwords.close()
        if "accounts" in vars(self):
            await self.accounts.aclose()
        if "sessions" in vars(self):
            await self.sessions.aclose()
        for cache in self._caches.values():
            await cache.aclose()
        if "limits" in vars(self):
            await self.limits.aclose()
        models = vars(self).get("models", self._own_models)
        if models is not None:
            models.close()
        await self.stores.aclose()

    def _apply_policies(self, settings: Settings) -> dict[str, str]:
        """Put the policies of `settings` into force; return the names of those that were added, changed and removed."""
        loaded = policies_from_settings(settings, self._own_policies)
        in_force = self.limits.policies if "limits" in vars(self) else self.policies
        in_code = in_force.keys() - self.policies.keys()
        policies = policies_after_reload(in_force, loaded, in_code)
        changes = policy_changes(self.policies, loaded)
        if "limits" in vars(self):
            self.limits.replace_policies(policies)
        self.policies = {name: policy for name, policy in policies.items() if name in loaded or name not in in_code}
        return {kind: ", ".join(names) for kind, names in asdict(changes).items()}

    async def _stop_watching(self) -> None:
        task, self._watch_task = self._watch_task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def open(  # noqa: A001 - the verb that users know: `async with tollhouse.open(url)`
    target: str | Settings | None = None,
    *,
    namespace: str | None = None,
    policies: Mapping[str, PolicyDefinition] | None = None,
    models: Models | None = None,
    metrics: Metrics | None = None,
    credentials: CredentialsFunction | None = None,
    credential_store: CredentialStore | None = None,
    strict: bool | None = None,
) -> Tollhouse:
    """Open Tollhouse on a store URL, on settings, or on those of `load_settings`.

    A URL alone sets the server and nothing else: no file and no variable is read. `policies` adds limits such as
    {"api": "100/minute"}, which replace those of the settings of the same name, as `namespace` replaces theirs.
    `models` are the only ones, in place of those of the settings.

    Applications on one server need a `namespace` each, else they share sessions, accounts, results, and the counters of
    policies of one name. `credentials`, sync or async, is called with "server" or "sentinel" at each login that has no
    password in the URL. Raises ConfigurationError for a URL or setting that cannot be used. Connects at first use: if
    `strict` is true, calls raise ConfigurationError while a server refuses what only a change of the setup mends, such
    as a wrong password; else they do as in an outage. A `credential_store` keeps the accounts in place of the server.
    """
    settings = settings_for(target, namespace, strict=strict)
    return Tollhouse(
        settings,
        policies=policies,
        models=models,
        metrics=metrics,
        credentials=credentials,
        credential_store=credential_store,
    )
