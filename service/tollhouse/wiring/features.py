"""Features as the settings ask for them: limits and sessions that learn of other processes, and password rules."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Final
from weakref import WeakSet

from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.hashing import cost
from tollhouse.accounts.hashing.costs import HashCosts
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.hashing.pool import HashPool
from tollhouse.accounts.rules import PasswordRules
from tollhouse.accounts.throttling.charges import rules_of
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.cache.cache import Cache
from tollhouse.clock import PROCESS_TIME, ProcessTime
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.limits.calls.refusal_cache import KEYS_MAX
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.metrics import Metrics
from tollhouse.runtime.machine import memory_bytes, processors
from tollhouse.runtime.switch import Switch
from tollhouse.sessions.policies import POLICIES, Policies
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import RandomBytes
from tollhouse.settings import Settings
from tollhouse.settings.throttle import ThrottleSettings
from tollhouse.stores.opening import AnyStore

LIMITS: Final = Switch[Limiter]()
CACHE: Final = Switch[Cache]()
"""Switches of this process, which `tollhouse.testing` sets."""
THROTTLES: Final = WeakSet[Throttle]()
"""Those of this process, which `tollhouse.testing` makes forget."""


def open_limiter(
    store: AnyStore,
    policies: Mapping[str, Policy],
    keyring: Keyring,
    metrics: Metrics,
    *,
    namespace: Namespace = UNNAMED,
    instances: int = 1,
    enabled: bool = True,
    time: ProcessTime = PROCESS_TIME,
) -> Limiter:
    """Open a limiter that caches refusals, and evicts them when another process gives units back."""
    limiter = Limiter(
        store,
        policies,
        keyring,
        metrics,
        namespace=namespace,
        instances=instances,
        refusals_max=KEYS_MAX,
        enabled=enabled,
        clock=time.monotonic_ms,
        sleep=time.sleep,
    )
    LIMITS.add(limiter)
    refusals = limiter.refusals
    store.listen(namespace.rate_clearings, limiter.on_cleared, refusals.on_gap, refusals.on_subscribed)
    return limiter


def open_sessions(
    store: AnyStore,
    keyring: Keyring,
    metrics: Metrics,
    policies: Policies = POLICIES,
    *,
    namespace: Namespace = UNNAMED,
    revocation_log: RevocationLog | None = None,
    random_bytes: RandomBytes = secrets.token_bytes,
    time: ProcessTime = PROCESS_TIME,
) -> Sessions:
    """Open sessions that learn of revocations by other processes, and replay recent ones on a new primary."""
    log = RevocationLog(clock=lambda: time.monotonic_ms() / 1000) if revocation_log is None else revocation_log
    sessions = Sessions(
        store, keyring, metrics, policies, namespace=namespace, revocation_log=log, random_bytes=random_bytes
    )
    store.on_new_primary(sessions.revoker.replay)
    store.listen(namespace.session_revocations, sessions.revoker.on_announcement, sessions.revoker.on_gap)
    return sessions


def open_throttle(
    store: AnyStore,
    keyring: Keyring,
    metrics: Metrics,
    settings: ThrottleSettings,
    *,
    namespace: Namespace = UNNAMED,
    time: ProcessTime = PROCESS_TIME,
) -> Throttle:
    """Open the throttle of accounts, which counts in the store of limits."""
    rules = rules_of(settings)
    throttle = Throttle(store, keyring, metrics, rules, namespace=namespace, clock=time.monotonic_ms)
    THROTTLES.add(throttle)
    return throttle


def open_passwords(chosen: cost.HashingCost, keyring: Keyring, metrics: Metrics, costs: HashCosts) -> Passwords:
    """Return the hashing of passwords at the cost that the settings ask for."""
    pool = HashPool(chosen.permits, chosen.memory_kib, metrics)
    return Passwords(keyring, metrics, profile=chosen.profile, pool=pool, costs=costs)


def hashing_warnings(settings: Settings) -> Iterator[str]:
    """Return what in the settings of hashes does not fit this machine."""
    chosen = cost.hashing_cost(settings)
    return cost.warnings(chosen, workers=settings.workers, cpus=processors(), machine_bytes=memory_bytes())


def password_rules(settings: Settings) -> PasswordRules:
    """Return the rules for new passwords; raises ConfigurationError for a filter that cannot be used."""
    words = (*settings.password_words, settings.namespace)
    return PasswordRules(settings.password_length_min, words=words, filter_path=settings.password_filter)


def factor_rules(settings: Settings, *, passkeys: bool) -> FactorRules:
    """Return the rules of factors that the settings ask for; passkeys count among them if they are on."""
    totp, sessions = settings.accounts.totp, settings.sessions
    return FactorRules(
        levels=sessions.acr_levels,
        recent_ms=sessions.recent_auth_s * 1000,
        totp_window=totp.window,
        issuer=totp.issuer,
        passkeys=passkeys,
    )
