"""Accounts: sign-up and login, whose answers do not show whether an account exists.

The order is always the same: checks of the text alone, refusals that are cached, the queue for a thread if it is full,
the account, the limits, the hash. So a flood, an overload and an outage of the accounts charge nothing; `attempts.py`
says what else is not charged. A sign-up is hashed before its caller can learn whether the name is taken.
A login takes as long for an unknown name, a disabled account and a wrong password, and returns the same answer for
all three. Only a sign-up for a taken name shows that the account exists, and sign-ups are limited.

After a rotation of the deployment's secret an account and its hash move to the newest one at the next login of its user
(see records.py). Until then the older secret must stay configured; `tollhouse_older_secret_logins_total` counts these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Literal, TypeVar

from msgspec import Struct

from tollhouse.accounts.attempts import Attempt, Attempts, login_takes, sign_up_takes
from tollhouse.accounts.names import canonical, canonical_new
from tollhouse.accounts.passwords import Passwords
from tollhouse.accounts.records import AccountRecords, NameRecords
from tollhouse.accounts.rules import PasswordRules, password_bytes
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.limiter import Limiter
from tollhouse.logs import Log
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions.levels import LEVELS
from tollhouse.sessions.outcomes import CapReached, Issued, Rotation, SessionRefused
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused

_log: Final = Log("tollhouse.accounts")

_Proven = TypeVar("_Proven")
"""What becomes of an attempt whose password was right."""
METHODS: Final = ("pwd",)
"""The method of an authentication by password (RFC 8176)."""


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


class PasswordConfirmed(Struct, frozen=True, kw_only=True):
    """The password was right: the session has another token, and its times begin anew."""

    rotation: Rotation

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as a refusal."""
        return True


class WrongCredentials(Struct, frozen=True, kw_only=True):
    """No such account, a disabled account, or a wrong password; the answer does not show which."""

    def __bool__(self) -> Literal[False]:
        """Return False: no session began."""
        return False


class Accounts:
    """Creates accounts, logs users in, and authenticates them again; a password reaches the `level`."""

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
        level: str = LEVELS[0],
    ) -> None:
        self._records = AccountRecords(store, keyring, namespace)
        self._sessions = sessions
        self._attempts = Attempts(limiter)
        self._passwords = passwords
        self._metrics = metrics
        self._rules = PasswordRules() if rules is None else rules
        self._level = level

    async def sign_up(self, user: str, password: str, *, address: str) -> AccountCreated | NameTaken | TooManyAttempts:
        """Create an account.

        Raises InvalidInput for a name or password that is not allowed, and Overloaded when too many hashes are queued.
        """
        name = canonical_new(user)
        encoded = self._rules.check(password, name)
        admitted = await self._admit(name, sign_up_takes(address))
        if isinstance(admitted, Decision):
            return TooManyAttempts(decision=admitted)
        attempt, found = admitted
        try:
            stored = await self._passwords.hash(encoded, attempt.on_begin)
            created, durable = (False, False) if found.is_taken else await self._records.create(found, stored)
            return AccountCreated(user=name, durable=durable) if created else NameTaken(user=name)
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
        carry: bool = False,
    ) -> LoginSucceeded | WrongCredentials | TooManyAttempts | SessionRefused | CapReached:
        """Begin a session if the password is right; raises InvalidInput and Overloaded as `sign_up` does.

        The session of the token `replaces`, which the client presented, is ended then; with `carry` the data of a
        visitor's goes along. At the cap of a policy that asks the result is what `Sessions.resume` needs, which goes on
        with the login.
        """
        name, encoded = canonical(user), password_bytes(password)
        self._sessions.check(name, policy=policy, device=device)
        chosen = partial(self._sessions.create, name, policy=policy, device=device, replaces=replaces, carry=carry)
        begin = partial(chosen, acr=self._level, amr=METHODS)
        issued = await self._with_password(name, encoded, address, begin)
        match issued:
            case Issued():
                self._metrics.login("ok")
                return LoginSucceeded(issued=issued)
            case SessionRefused(reason="disabled"):
                self._metrics.login("wrong")
                return WrongCredentials()
            case SessionRefused() | CapReached():
                self._metrics.login("refused")
                return issued
            case _:
                return issued

    async def reauthenticate(
        self, token: Token | str, password: str, *, address: str
    ) -> PasswordConfirmed | WrongCredentials | TooManyAttempts | StepUpRefused:
        """Step a session up, also one that is locked, if the password of its user is right; raises as `login` does.

        It counts as a login, so that a token gives no further guesses at the password.
        """
        encoded = password_bytes(password)
        session = await self._sessions.verify(token, passive=True, locked=True)
        if session is None or session.impersonation is not None:
            return StepUpRefused(reason="over" if session is None else "impersonated")
        step_up = partial(self._sessions.step_up, token, acr=self._level, amr=METHODS)
        stepped = await self._with_password(session.user, encoded, address, step_up)
        match stepped:
            case Rotation():
                self._metrics.login("ok")
                return PasswordConfirmed(rotation=stepped)
            case StepUpRefused():
                self._metrics.login("refused")
                return stepped
            case _:
                return stepped

    async def aclose(self) -> None:
        """Wait, for a bounded time, until the attempts of callers that have left are settled."""
        await self._attempts.aclose()

    async def _admit(self, name: str, takes: Sequence[Take]) -> tuple[Attempt, NameRecords] | Decision:
        """Charge an attempt, and return it with what is stored under the name; or return a refusal of the limits."""
        refusal = self._attempts.cached_refusal(takes)
        if refusal is not None:
            return refusal
        self._passwords.require_place()
        found = await self._records.load(name)
        attempt = await self._attempts.charge(takes)
        return attempt if isinstance(attempt, Decision) else (attempt, found)

    async def _with_password(
        self, name: str, encoded: bytes, address: str, proceed: Callable[[], Awaitable[_Proven]]
    ) -> _Proven | WrongCredentials | TooManyAttempts:
        """Return what `proceed` does if the password is right; count an attempt that is not."""
        try:
            admitted = await self._admit(name, login_takes(name, address))
            if isinstance(admitted, Decision):
                self._metrics.login("throttled")
                return TooManyAttempts(decision=admitted)
            attempt, found = admitted
            try:
                if not await self._verify(attempt, found, encoded):
                    self._metrics.login("wrong")
                    return WrongCredentials()
                # The right password is what restores the limits. They stay restored if no session can be created, for
                # a guesser gains nothing by it: it takes the password to get here.
                self._attempts.begin_to_settle(attempt)
                return await proceed()
            finally:
                await self._attempts.settle(attempt)
        except Overloaded:
            self._metrics.login("overloaded")
            raise

    async def _verify(self, attempt: Attempt, found: NameRecords, password: bytes) -> bool:
        """Return whether the password is right, after exactly one hash; then renew an account that is out of date."""
        account = found.account
        stored = None if account is None or account.disabled else account.stored
        match = await self._passwords.verify(password, stored, attempt.on_begin, attempt.on_match)
        if match is None:
            return False
        await self._renew(found, password, needs_rehash=match.needs_rehash)
        return True

    async def _renew(self, found: NameRecords, password: bytes, *, needs_rehash: bool) -> None:
        """Move the account to the newest secret, and store a hash of today's parameters under it.

        That neither can be done now is no reason to refuse a right password: the next login tries again.
        """
        if (older := found.older_secret) is not None:
            self._metrics.older_secret_login(older)
        try:
            account = await self._records.settle(found)
            if needs_rehash:
                await self._records.replace_hash(account, await self._passwords.hash(password))
        except Overloaded:
            return
        except StoreUnavailable as error:
            _log.warning("account not renewed", extra={"reason": str(error)})
