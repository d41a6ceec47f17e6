"""Accounts: sign-up and login, whose answers do not show whether an account exists.

The order is always the same: checks of the text alone, then the limits, then the queue for a thread, then the hash.
An attempt is charged before its outcome is known, so parallel guesses are counted like guesses in a row; a right
password gets its charge back.
A login takes as long for an unknown name, a disabled account and a wrong password, and returns the same answer for
all three. Only a sign-up for a taken name shows that the account exists, and sign-ups are limited.

The key of an account is derived from the secret that was the newest at sign-up, so that secret must stay configured.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal

from msgspec import Struct

from tollhouse.accounts.names import canonical
from tollhouse.accounts.passwords import Passwords, StoredHash
from tollhouse.accounts.rules import PasswordRules, password_bytes
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.limits.decision import Decision, Take, longest_refusal
from tollhouse.limits.limiter import Limiter
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions.sessions import Issued, SessionRefused, Sessions

SIGN_UP_POLICY: Final = "signup"
LOGIN_POLICY: Final = "login"
LOGIN_ADDRESS_POLICY: Final = "login-address"
"""The policies that the limiter must have; their keys are `address:…` and `account:…`."""

_ACCOUNT_LABEL: Final = "account"


class AccountCreated(Struct, frozen=True, kw_only=True):
    """The account exists now; `user` is the canonical spelling of its name."""

    user: str
    durable: bool


class NameTaken(Struct, frozen=True, kw_only=True):
    """Another account has this name; nothing was changed."""

    user: str

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created."""
        return False


class TooManyAttempts(Struct, frozen=True, kw_only=True):
    """A limit refused the attempt; nothing was charged, looked up or hashed."""

    decision: Decision

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created, or no session began."""
        return False


class LoginSucceeded(Struct, frozen=True, kw_only=True):
    """The password was right, and a new session began."""

    issued: Issued


class WrongCredentials(Struct, frozen=True, kw_only=True):
    """No such account, a disabled account, or a wrong password; the answer does not show which."""

    def __bool__(self) -> Literal[False]:
        """Return False: no session began."""
        return False


class _Account(Struct, frozen=True, kw_only=True):
    key: str
    disabled: bool
    stored: StoredHash


class Accounts:
    """Creates accounts and logs users in."""

    def __init__(
        self,
        store: DurableScriptRunner,
        sessions: Sessions,
        limiter: Limiter,
        passwords: Passwords,
        keyring: Keyring,
        metrics: Metrics,
        *,
        namespace: Namespace = UNNAMED,
        rules: PasswordRules | None = None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._limiter = limiter
        self._passwords = passwords
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace
        self._rules = PasswordRules() if rules is None else rules

    async def sign_up(self, user: str, password: str, *, address: str) -> AccountCreated | NameTaken | TooManyAttempts:
        """Create an account.

        Raises InvalidInput for a name or password that is not allowed, and Overloaded when too many hashes are queued.
        """
        name = canonical(user)
        encoded = self._rules.check(password, name)
        decision = await self._limiter.take(SIGN_UP_POLICY, f"address:{address}")
        if not decision.allowed:
            return TooManyAttempts(decision=decision)
        if await self._load(name) is not None:
            return NameTaken(user=name)
        stored = await self._passwords.hash(encoded)
        reply, durable = await self._store.run_durably(
            "accounts/create", (self._account_keys(name)[0],), (name, stored.phc, stored.key_id)
        )
        return AccountCreated(user=name, durable=durable) if reply[0] == 1 else NameTaken(user=name)

    async def login(
        self, user: str, password: str, *, address: str, device: str | None = None, policy: str = "default"
    ) -> LoginSucceeded | WrongCredentials | TooManyAttempts | SessionRefused:
        """Begin a session if the password is right; raises InvalidInput and Overloaded as `sign_up` does."""
        name, encoded = canonical(user), password_bytes(password)
        self._sessions.check(name, policy=policy, device=device)
        refusal = await self._charge_attempt(name, address)
        if refusal is not None:
            self._metrics.login("throttled")
            return TooManyAttempts(decision=refusal)
        try:
            right = await self._verify(name, encoded)
        except Overloaded:
            self._metrics.login("overloaded")
            raise
        if not right:
            self._metrics.login("wrong")
            return WrongCredentials()
        return await self._begin_session(name, address, device, policy)

    async def _charge_attempt(self, name: str, address: str) -> Decision | None:
        """Take one attempt from the address and the account together; return the refusal that lasts longest, if any.

        A refusal charges neither: a refused address cannot use up the attempts of an account. While the refusal of
        either is cached, nothing is sent, so that a flood of refused logins costs the store nothing.
        """
        takes = (
            Take(policy=LOGIN_ADDRESS_POLICY, key=f"address:{address}"),
            Take(policy=LOGIN_POLICY, key=f"account:{name}"),
        )
        cached = self._limiter.cached_refusal(takes)
        if cached is not None:
            return cached
        result = await self._limiter.take_all(takes)
        if result.allowed:
            return None
        return longest_refusal(one for one in result.decisions if not one.allowed and one.reason != "all-or-nothing")

    async def _verify(self, name: str, password: bytes) -> bool:
        """Return whether the password is right, after exactly one hash; then renew a hash that is out of date."""
        account = await self._load(name)
        stored = None if account is None or account.disabled else account.stored
        match = await self._passwords.verify(password, stored)
        if match is None or account is None:
            return False
        if match.needs_rehash:
            # A full queue is no reason to refuse a right password; the next login tries again.
            with suppress(Overloaded):
                await self._rehash(account, password)
        return True

    async def _rehash(self, account: _Account, password: bytes) -> None:
        renewed = await self._passwords.hash(password)
        await self._store.run(
            "accounts/replace_hash", (account.key,), (account.stored.phc, renewed.phc, renewed.key_id)
        )

    async def _begin_session(
        self, name: str, address: str, device: str | None, policy: str
    ) -> LoginSucceeded | WrongCredentials | SessionRefused:
        # The right password is what restores the limits. They stay restored if no session can be created, for a
        # guesser gains nothing by it: it takes the password to get here. `finally` waits for the restoring calls, so
        # that they never outlive the login, and the error of `create` is raised after they have ended.
        restoring = asyncio.gather(self._reset_account_limit(name), self._refund_address(address))
        try:
            issued = await self._sessions.create(name, policy=policy, device=device)
        finally:
            await restoring
        match issued:
            case Issued():
                self._metrics.login("ok")
                return LoginSucceeded(issued=issued)
            case SessionRefused(reason="disabled"):
                self._metrics.login("wrong")
                return WrongCredentials()
            case refused:
                self._metrics.login("refused")
                return refused

    # While the store of limits is down it counts nothing, so there is nothing to restore and no reason to refuse.

    async def _reset_account_limit(self, name: str) -> None:
        with suppress(StoreUnavailable):
            await self._limiter.reset(LOGIN_POLICY, f"account:{name}")

    async def _refund_address(self, address: str) -> None:
        with suppress(StoreUnavailable):
            await self._limiter.refund(LOGIN_ADDRESS_POLICY, f"address:{address}")

    async def _load(self, name: str) -> _Account | None:
        """Return the account of a name under the newest secret that has one."""
        # Every key is read, whether or not an earlier one exists: timing does not show whether there is an account.
        accounts = await asyncio.gather(*map(self._load_from, self._account_keys(name)))
        return next((account for account in accounts if account is not None), None)

    async def _load_from(self, key: str) -> _Account | None:
        reply = await self._store.run("accounts/load", (key,), ())
        if not reply:
            return None
        disabled, phc, key_id = reply
        return _Account(key=key, disabled=disabled == 1, stored=StoredHash(phc=phc.decode(), key_id=key_id.decode()))

    def _account_keys(self, name: str) -> tuple[str, ...]:
        return tuple(self._namespace.account(digest) for digest in self._keyring.digests(_ACCOUNT_LABEL, name))
