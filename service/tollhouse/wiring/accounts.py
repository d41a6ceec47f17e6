"""Accounts as the settings ask for them, over the store of credentials that an application gave, or over Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.credentials.credentials import CredentialStore
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.factors.tickets import LoginTickets
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.rules import PasswordRules
from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.limits.limiter import Limiter
from tollhouse.logs import Log
from tollhouse.metrics import Metrics
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings
from tollhouse.stores.opening import Stores
from tollhouse.wiring.features import factor_rules, open_throttle
from tollhouse.wiring.passkeys import open_passkeys
from tollhouse.wiring.servers import process_secret, wall_clock_ms

if TYPE_CHECKING:
    from tollhouse.accounts.passkeys.ceremonies import Ceremonies

_log: Final = Log("tollhouse.accounts")

_METHODS: Final = ("load", "create", "replace", "delete", "find")


def open_accounts(
    settings: Settings,
    stores: Stores,
    sessions: Sessions,
    limiter: Limiter,
    passwords: Passwords,
    keyring: Keyring,
    metrics: Metrics,
    *,
    rules: PasswordRules,
    namespace: Namespace,
    ceremonies: Ceremonies | None = None,
    credential_store: CredentialStore | None = None,
) -> Accounts:
    """Open accounts; what waits for a second factor, and what is counted, is in Redis whatever has the credentials."""
    store, clock, time = credential_store, wall_clock_ms(settings), stores.times["limits"]
    shared = (stores.accounts, keyring, namespace)
    if store is None:
        store = RedisCredentials(stores.accounts, keyring, metrics, namespace)
    elif process_secret() in keyring.secrets:
        remedy = "set TOLLHOUSE_SECRET, or `secret` of the settings, to the output of `openssl rand -hex 32`"
        _log.warning("no secret is set: no later process opens the accounts of this one", extra={"remedy": remedy})
    return Accounts(
        store,
        sessions,
        limiter,
        open_throttle(stores.limits, keyring, metrics, settings.accounts.throttle, namespace=namespace, time=time),
        passwords,
        keyring,
        metrics,
        LoginTickets(*shared),
        AccountEvents(stores.sessions, keyring, namespace),
        rules=rules,
        passkeys=open_passkeys(ceremonies, store, *shared, metrics, clock),
        factor_rules=factor_rules(settings, passkeys=ceremonies is not None),
        wall_ms=clock,
        reset_ms=settings.accounts.reset_ms,
    )


def checked_store(given: CredentialStore | None) -> CredentialStore | None:
    """Return the store that an application gave, or None; raises ConfigurationError for an object that is none."""
    missing = [name for name in _METHODS if not callable(getattr(given, name, None))]
    if given is not None and (missing or isinstance(given, type)):
        lacks = f"it lacks {', '.join(missing)}" if missing else "it is a class"
        remedy = f"give an object with the methods of tollhouse.CredentialStore; {lacks}"
        raise ConfigurationError("credential_store", given, remedy)
    return given
