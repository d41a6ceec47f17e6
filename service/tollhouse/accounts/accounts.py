"""Accounts: sign-up and login, whose answers do not show whether an account exists.

The order is always the same: checks of the text alone, refusals that are cached, the queue for a thread if it is full,
the account, the limits, the hash. So a flood, an overload and an outage of the accounts charge nothing; `attempts.py`
says what else is not charged. A sign-up is hashed before its caller can learn whether the name is taken.
A login takes as long for an unknown name, a disabled account and a wrong password, and returns the same answer for
all three. Only a sign-up for a taken name shows that the account exists, and sign-ups are limited.

The key of an account is derived from the secret that was the newest at sign-up, so that secret must stay configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal

from msgspec import Struct

from tollhouse.accounts.attempts import Attempt, Attempts, login_takes, sign_up_takes
from tollhouse.accounts.names import canonical, canonical_new
from tollhouse.accounts.passwords import Passwords, StoredHash
from tollhouse.accounts.rules import PasswordRules, password_bytes
from tollhouse.errors import Overloaded
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.limiter import Limiter
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions.outcomes import Issued, SessionRefused
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token

_ACCOUNT_LABEL: Final = "account"

_Begin = Callable[[], Awaitable[Issued | SessionRefused]]
"""Begins the session of a login."""


class AccountCreated(Struct, frozen=True, kw_only=True):
    """The account exists now; `user` is the canonical spelling of its name."""

    user: str
    durable: bool

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class NameTaken(Struct, frozen=True, kw_only=True):
    """Another account has this name; nothing was changed."""

    user: str

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created."""
        return False


class TooManyAttempts(Struct, frozen=True, kw_only=True):
    """A limit refused the attempt; nothing was charged or hashed."""

    decision: Decision

    def __bool__(self) -> Literal[False]:
        """Return False: no account was created, or no session began."""
        return False


class LoginSucceeded(Struct, frozen=True, kw_only=True):
    """The password was right, and a new session began."""

    issued: Issued

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


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
        self._attempts = Attempts(limiter)
        self._passwords = passwords
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace
        self._rules = PasswordRules() if rules is None else rules

    async def sign_up(self, user: str, password: str, *, address: str) -> AccountCreated | NameTaken | TooManyAttempts:
        """Create an account.

        Raises InvalidInput for a name or password that is not allowed, and Overloaded when too many hashes are queued.
        """
        name = canonical_new(user)
        encoded = self._rules.check(password, name)
        attempt, account = await self._admit(name, sign_up_takes(address))
        if isinstance(attempt, Decision):
            return TooManyAttempts(decision=attempt)
        try:
            stored = await self._passwords.hash(encoded, attempt.on_begin)
            return await self._create(name, stored) if account is None else NameTaken(user=name)
        finally:
            await self._attempts.settle(attempt)

    async def login(
        self,
        user: str,
        password: str,
        *,
        address: str,
        device: str | None = None,
        policy: str = "default",
        replaces: Token | str | None = None,
    ) -> LoginSucceeded | WrongCredentials | TooManyAttempts | SessionRefused:
        """Begin a session if the password is right; raises InvalidInput and Overloaded as `sign_up` does.

        The session of the token `replaces`, which the client presented, is ended then.
        """
        name, encoded = canonical(user), password_bytes(password)
        self._sessions.check(name, policy=policy, device=device)
        try:
            attempt, account = await self._admit(name, login_takes(name, address))
            if isinstance(attempt, Decision):
                self._metrics.login("throttled")
                return TooManyAttempts(decision=attempt)
            begin = partial(self._sessions.create, name, policy=policy, device=device, replaces=replaces)
            return await self._log_in(attempt, account, encoded, begin)
        except Overloaded:
            self._metrics.login("overloaded")
            raise

    async def aclose(self) -> None:
        """Wait, for a bounded time, until the attempts of callers that have left are settled."""
        await self._attempts.aclose()

    async def _admit(self, name: str, takes: Sequence[Take]) -> tuple[Attempt | Decision, _Account | None]:
        """Charge an attempt, and return the account of the name; a refusal of the limits comes without it."""
        refusal = self._attempts.cached_refusal(takes)
        if refusal is not None:
            return refusal, None
        self._passwords.require_place()
        account = await self._load(name)
        return await self._attempts.charge(takes), account

    async def _create(self, name: str, stored: StoredHash) -> AccountCreated | NameTaken:
        reply, durable = await self._store.run_durably(
            "accounts/create", (self._account_keys(name)[0],), (name, stored.phc, stored.key_id)
        )
        return AccountCreated(user=name, durable=durable) if reply[0] == 1 else NameTaken(user=name)

    async def _log_in(
        self, attempt: Attempt, account: _Account | None, encoded: bytes, begin: _Begin
    ) -> LoginSucceeded | WrongCredentials | SessionRefused:
        try:
            if await self._verify(attempt, account, encoded):
                return await self._begin_session(attempt, begin)
            self._metrics.login("wrong")
            return WrongCredentials()
        finally:
            await self._attempts.settle(attempt)

    async def _verify(self, attempt: Attempt, account: _Account | None, password: bytes) -> bool:
        """Return whether the password is right, after exactly one hash; then renew a hash that is out of date."""
        stored = None if account is None or account.disabled else account.stored
        match = await self._passwords.verify(password, stored, attempt.on_begin, attempt.on_match)
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
        self, attempt: Attempt, begin: _Begin
    ) -> LoginSucceeded | WrongCredentials | SessionRefused:
        # The right password is what restores the limits. They stay restored if no session can be created, for a
        # guesser gains nothing by it: it takes the password to get here.
        self._attempts.begin_to_settle(attempt)
        issued = await begin()
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
