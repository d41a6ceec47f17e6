"""Accounts: sign-up and login, with answers that do not tell whether an account exists.

The order is always the same: what the text alone decides, then the limits, then the queue, then the hash.
An attempt is charged before it is known to be wrong, so guesses made side by side are counted like others; one that
was right is given back.
A login works as long for an unknown name, a disabled account and a wrong password, and gives one answer to all;
a sign-up for a taken name is the one place that tells, and is limited.

An account stays under the name that the secret of its first day gave it: that secret must stay listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from msgspec import Struct

from tollhouse import keys
from tollhouse.accounts.names import canonical
from tollhouse.accounts.passwords import Passwords, StoredHash
from tollhouse.accounts.rules import PasswordRules, prepared
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.limits.decision import Decision
from tollhouse.limits.limiter import Limiter
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument
from tollhouse.sessions.sessions import Issued, SessionRefused, Sessions

SIGN_UP_POLICY: Final = "signup"
LOGIN_POLICY: Final = "login"
LOGIN_ADDRESS_POLICY: Final = "login-address"
"""The policies that the limiter must know; keys are `address:…` and `account:…`."""

_ACCOUNT_LABEL: Final = "account"


class Store(Protocol):
    """What accounts need of a store."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and give its reply."""
        ...

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script, and tell whether what it wrote outlives a failover."""
        ...


class SignedUp(Struct, frozen=True, kw_only=True):
    """The account exists, under this spelling of its name."""

    user: str
    durable: bool


class NameTaken(Struct, frozen=True, kw_only=True):
    """There is an account of this name; nothing was changed."""

    user: str


class Throttled(Struct, frozen=True, kw_only=True):
    """A limit refused the attempt before any work was done for it."""

    decision: Decision


class LoggedIn(Struct, frozen=True, kw_only=True):
    """The password was right, and a fresh session has begun."""

    issued: Issued


class WrongCredentials(Struct, frozen=True, kw_only=True):
    """No such account, a disabled one, or another password: nobody is told which."""


class _Account(Struct, frozen=True, kw_only=True):
    key: str
    disabled: bool
    stored: StoredHash


class Accounts:
    """Signs people up and logs them in."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        limiter: Limiter,
        passwords: Passwords,
        keyring: Keyring,
        metrics: Metrics,
        *,
        rules: PasswordRules | None = None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._limiter = limiter
        self._passwords = passwords
        self._keyring = keyring
        self._metrics = metrics
        self._rules = PasswordRules() if rules is None else rules

    async def sign_up(self, user: str, password: str, *, address: str) -> SignedUp | NameTaken | Throttled:
        """Make an account; raises InvalidInput for a name or password that may not be, Overloaded at the bound."""
        name = canonical(user)
        self._rules.check(password, name)
        refused = await self._refused(SIGN_UP_POLICY, f"address:{address}")
        if refused is not None:
            return Throttled(decision=refused)
        if await self._load(name) is not None:
            return NameTaken(user=name)
        stored = await self._passwords.hash(password)
        reply, durable = await self._store.run_durably(
            "accounts/create", (self._names(name)[0],), (name, stored.phc, stored.key_id)
        )
        return SignedUp(user=name, durable=durable) if reply[0] == 1 else NameTaken(user=name)

    async def login(
        self, user: str, password: str, *, address: str, device: str | None = None, policy: str = "default"
    ) -> LoggedIn | WrongCredentials | Throttled | SessionRefused:
        """Begin a session for whoever knows the password; raises InvalidInput and Overloaded as `sign_up` does."""
        name = canonical(user)
        prepared(password)
        self._sessions.check(name, policy=policy, device=device)
        # The address goes first: one that is refused may not use up the attempts of somebody's account.
        refused = await self._refused(LOGIN_ADDRESS_POLICY, f"address:{address}")
        refused = refused or await self._refused(LOGIN_POLICY, f"account:{name}")
        if refused is not None:
            self._metrics.login("throttled")
            return Throttled(decision=refused)
        try:
            known = await self._knows_password(name, password)
        except Overloaded:
            self._metrics.login("overloaded")
            raise
        if not known:
            self._metrics.login("wrong")
            return WrongCredentials()
        await self._forgive(name, address)
        return await self._begin(name, device, policy)

    async def _knows_password(self, name: str, password: str) -> bool:
        """Verify a password, always by one hash; a hash that shows its age is then replaced."""
        account = await self._load(name)
        stored = None if account is None or account.disabled else account.stored
        if not await self._passwords.verify(password, stored) or account is None:
            return False
        if self._passwords.outdated(account.stored):
            # A busy moment is no reason to refuse who knows the password: the next login tries again.
            with suppress(Overloaded):
                await self._rehash(account, password)
        return True

    async def _rehash(self, account: _Account, password: str) -> None:
        renewed = await self._passwords.hash(password)
        await self._store.run(
            "accounts/replace_hash", (account.key,), (account.stored.phc, renewed.phc, renewed.key_id)
        )

    async def _forgive(self, name: str, address: str) -> None:
        """Let the limits begin anew for who knows the password; the address gets this one attempt back."""
        # A store of limits that is down counts nothing either, and is no reason to refuse the login.
        with suppress(StoreUnavailable):
            await self._limiter.reset(LOGIN_POLICY, f"account:{name}")
            await self._limiter.refund(LOGIN_ADDRESS_POLICY, f"address:{address}")

    async def _begin(self, name: str, device: str | None, policy: str) -> LoggedIn | WrongCredentials | SessionRefused:
        issued = await self._sessions.create(name, policy=policy, device=device)
        match issued:
            case Issued():
                self._metrics.login("ok")
                return LoggedIn(issued=issued)
            case SessionRefused(reason="disabled"):
                self._metrics.login("wrong")
                return WrongCredentials()
            case refused:
                self._metrics.login("refused")
                return refused

    async def _refused(self, policy: str, key: str) -> Decision | None:
        """Charge one attempt; give the decision where it is a refusal."""
        decision = await self._limiter.take(policy, key)
        return None if decision.allowed else decision

    async def _load(self, name: str) -> _Account | None:
        """Find an account under the newest secret, else under an older one."""
        # All are asked, found or not: the time taken does not tell whether an account exists.
        found = [await self._load_from(key) for key in self._names(name)]
        return next((account for account in found if account is not None), None)

    async def _load_from(self, key: str) -> _Account | None:
        reply = await self._store.run("accounts/load", (key,), ())
        if not reply:
            return None
        disabled, phc, key_id = reply
        return _Account(key=key, disabled=disabled == 1, stored=StoredHash(phc=phc.decode(), key_id=key_id.decode()))

    def _names(self, name: str) -> tuple[str, ...]:
        return tuple(keys.account(digest) for digest in self._keyring.digests(_ACCOUNT_LABEL, name))
