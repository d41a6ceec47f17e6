"""Accounts: sign-up and login, whose answers do not show whether an account exists.

The checks of a text come before everything else; `verbs/password_check.py` has the order of what follows. A login takes
as long for an unknown name, a disabled account and a wrong password, and returns the same answer for all three. Only a
sign-up for a taken name shows that the account exists, and sign-ups are limited.
"""

from __future__ import annotations

from tollhouse.accounts.credentials.credentials import CredentialStore
from tollhouse.accounts.factors.codes import CodeFactor, Codes
from tollhouse.accounts.factors.outcomes import FactorsRemoved
from tollhouse.accounts.factors.rules import DEFAULT_RULES, FactorRules
from tollhouse.accounts.factors.tickets import LoginTicket, LoginTickets
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import (
    AccountCreated,
    AccountDeleted,
    AccountStatus,
    AttemptThrottled,
    CodeDue,
    LevelDue,
    LoginSucceeded,
    NameTaken,
    NoAccount,
    PasswordChanged,
    PasswordConfirmed,
    PasswordDue,
    ResetRefused,
    ResetToken,
    SecondFactorDue,
    TicketRefused,
    TooManyAttempts,
    WrongCode,
    WrongCredentials,
)
from tollhouse.accounts.own_session import OwnLevel
from tollhouse.accounts.rules import PasswordRules
from tollhouse.accounts.throttling.attempts import Attempts
from tollhouse.accounts.throttling.devices import DeviceToken
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.accounts.verbs.administration import AccountAdministration
from tollhouse.accounts.verbs.closing import AccountClosing
from tollhouse.accounts.verbs.code_check import CodeCheck
from tollhouse.accounts.verbs.factor_changes import FactorChanges
from tollhouse.accounts.verbs.guarded_changes import GuardedChanges
from tollhouse.accounts.verbs.login import PasswordLogin
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.new_password import NewPassword
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.accounts.verbs.passkeys.passkeys import Passkeys
from tollhouse.accounts.verbs.password_change import PasswordChange
from tollhouse.accounts.verbs.password_check import PasswordVerification
from tollhouse.accounts.verbs.reauthentication import Reauthentication
from tollhouse.accounts.verbs.reset import RESET_MS, PasswordReset
from tollhouse.accounts.verbs.second_step import SecondStep
from tollhouse.accounts.verbs.sign_up import SignUp
from tollhouse.clock import UnixClock, unix_ms
from tollhouse.errors import PasskeysOff
from tollhouse.keyring import Keyring
from tollhouse.limits.limiter import Limiter
from tollhouse.metrics import Metrics
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.disabler import DisableResult, EnableResult
from tollhouse.sessions.verbs.step_up import StepUpRefused


class Accounts:
    """Creates accounts, logs users in, and authenticates them again; `factors` changes their second factors.

    `address` is that of the client: an IP address, of IPv6 the network that one client has, such as a /64.
    """

    def __init__(
        self,
        store: CredentialStore,
        sessions: Sessions,
        limiter: Limiter,
        throttle: Throttle,
        passwords: Passwords,
        keyring: Keyring,
        metrics: Metrics,
        tickets: LoginTickets,
        events: AccountEvents,
        *,
        passkeys: PasskeyCheck | None = None,
        rules: PasswordRules | None = None,
        factor_rules: FactorRules = DEFAULT_RULES,
        wall_ms: UnixClock = unix_ms,
        reset_ms: int = RESET_MS,
    ) -> None:
        rules = PasswordRules() if rules is None else rules
        self._attempts = Attempts(limiter)
        self._sign_up = SignUp(store, self._attempts, passwords, rules, wall_ms)
        self._throttle = throttle
        check = PasswordVerification(store, throttle, passwords, metrics)
        logins = LoginSessions(store, sessions, throttle, metrics)
        new_password = NewPassword(store, passwords, sessions, logins, throttle, events, wall_ms)
        codes = Codes(store, keyring, wall_ms, window=factor_rules.totp_window)
        code_check = CodeCheck(codes, throttle, events, metrics)
        given = (logins, tickets, keyring, metrics)
        second = self.second_step = SecondStep(store, sessions, code_check, *given, rules=factor_rules)
        self._login = PasswordLogin(sessions, check, logins, second, acr=factor_rules.first)
        self._password_change = PasswordChange(sessions, check, rules, new_password, OwnLevel(factor_rules, wall_ms))
        self._reset = PasswordReset(store, keyring, rules, new_password, throttle, wall_ms, reset_ms)
        self._closing = AccountClosing(store, sessions, check, events, OwnLevel(factor_rules, wall_ms))
        self._admin = AccountAdministration(store, passwords, rules, new_password, logins, throttle, events, wall_ms)
        checks = (store, sessions, check, code_check, logins, keyring, metrics)
        self._reauthentication = Reauthentication(*checks, rules=factor_rules, clock=wall_ms)
        changes = GuardedChanges(store, logins, events, rules=factor_rules, clock=wall_ms)
        self.factors = FactorChanges(store, changes, codes, keyring, rules=factor_rules)
        shared = (store, sessions, logins, second, throttle, changes, metrics)
        self._passkeys = passkeys and Passkeys(passkeys, *shared, acr=factor_rules.second)

    @property
    def passkeys(self) -> Passkeys:
        """Logins and step-ups by passkeys, and changes of them; raises PasskeysOff if the settings have none."""
        if self._passkeys is None:
            raise PasskeysOff
        return self._passkeys

    async def sign_up(self, user: str, password: str, *, address: str) -> AccountCreated | NameTaken | TooManyAttempts:
        """Create an account.

        Raises InvalidInput for a name or password that is not allowed, and Overloaded when too many hashes are queued.
        """
        return await self._sign_up.sign_up(user, password, LoginClient(address=address))

    async def login(
        self,
        user: str,
        password: str,
        *,
        address: str,
        device: str | None = None,
        device_token: str | None = None,
        policy: str = "default",
        replaces: Token | str | None = None,
        carry: bool = False,
    ) -> LoginSucceeded | SecondFactorDue | WrongCredentials | AttemptThrottled | SessionRefused | CapReached:
        """Begin a session if the password is right; raises InvalidInput and Overloaded as `sign_up` does.

        If the account takes a second factor no session begins: the result has what `login_by_code` needs.
        The session of the token `replaces`, which the client presented, is ended then; with `carry` the data of a
        visitor's goes along. At the cap of a policy that asks the result is what `Sessions.resume` needs, which goes on
        with the login.
        """
        client = LoginClient(address=address, device_token=device_token)
        return await self._login.log_in(
            user, password, client, device=device, policy=policy, replaces=replaces, carry=carry
        )

    async def login_by_code(
        self,
        ticket: LoginTicket | str,
        factor: CodeFactor,
        code: str,
        *,
        address: str,
        device_token: str | None = None,
        replaces: Token | str | None = None,
    ) -> LoginSucceeded | WrongCode | TicketRefused | AttemptThrottled | SessionRefused | CapReached:
        """Begin the session of a login whose password was right, if the code is; `factor` is `totp` or `recovery`.

        The session is what that login asked for, at the second level. Raises InvalidInput for what no code can be.
        """
        client = LoginClient(address=address, device_token=device_token)
        return await self.second_step.by_code(ticket, factor, code, client, replaces=replaces)

    async def reauthenticate(
        self, token: Token | str, password: str | None = None, *, address: str, code: str | None = None
    ) -> PasswordConfirmed | WrongCredentials | WrongCode | CodeDue | PasswordDue | AttemptThrottled | StepUpRefused:
        """Step a session up, also one that is locked, if the password of its user is right; raises as `login` does.

        If one-time passwords are a second factor it takes a `code`, too; the code alone is enough soon after the
        password, in a session that is open. It counts by the session alone, as a login does by its device: nothing
        that others do refuses it.
        """
        client = LoginClient(address=address)
        return await self._reauthentication.reauthenticate(token, password, code, client)

    def trust_device(self, session: Session, presented: str | None = None) -> DeviceToken:
        """Return what makes the client that a session began for a trusted device of its user.

        It is for logins that went on after they were asked something; `login` returns one by itself. What the client
        `presented` of other users is kept.
        """
        return self._throttle.new_device(session.user, session.created_at, presented)

    async def change_password(
        self, token: Token | str, password: str, new_password: str, *, address: str, end_others: bool = True
    ) -> PasswordChanged | LevelDue | WrongCredentials | AttemptThrottled | StepUpRefused:
        """Change the password of a session's user, if the former one is right; end the other sessions.

        If a login takes a second factor the session must have shown one, in the last day, or the result is LevelDue.
        The session gets another token. Raises WeakPassword for a new one that is not allowed, and as `login` does.
        """
        client = LoginClient(address=address)
        return await self._password_change.change_password(token, password, new_password, client, end_others=end_others)

    async def issue_reset_token(self, user: str) -> ResetToken:
        """Return a token that allows a new password once, for the application to mail; also for an unknown name."""
        return await self._reset.issue(user)

    async def reset_password(self, user: str, token: str, password: str) -> PasswordChanged | ResetRefused:
        """Set a new password for an account by a token of `issue_reset_token`, and end all its sessions."""
        return await self._reset.reset_password(user, token, password)

    async def delete_own(
        self, token: Token | str, password: str, *, address: str
    ) -> AccountDeleted | LevelDue | NoAccount | WrongCredentials | AttemptThrottled | StepUpRefused:
        """Delete the account of a session's user, if the password is right, and end all its sessions.

        If a login takes a second factor, so does this, as `change_password` does.
        """
        return await self._closing.delete_own(token, password, LoginClient(address=address))

    async def disable(self, user: str) -> DisableResult:
        """Disable a user, and the account of that name if there is one: no factor opens it, and all sessions end."""
        return await self._closing.disable(user)

    async def enable(self, user: str) -> EnableResult:
        """Enable a user, and the account of that name if there is one; sessions of before stay over."""
        return await self._closing.enable(user)

    async def delete_account(self, user: str) -> AccountDeleted | NoAccount:
        """Delete an account, and end all sessions of its user."""
        return await self._closing.delete_account(user)

    async def add_account(self, user: str, password: str) -> AccountCreated | NameTaken:
        """Create an account, as an administrator does: no limit counts it."""
        return await self._admin.add_account(user, password)

    async def set_password(self, user: str, password: str) -> PasswordChanged | NoAccount:
        """Set another password for an account, as an operator does, and end all its sessions."""
        return await self._admin.set_password(user, password)

    async def remove_factors(self, user: str) -> FactorsRemoved | NoAccount:
        """Remove all second factors of an account, whose user has lost them, and end all its sessions."""
        return await self._admin.remove_factors(user)

    async def status(self, user: str) -> AccountStatus | None:
        """Return what an administrator sees of an account; None if there is none."""
        return await self._admin.status(user)

    async def aclose(self) -> None:
        """Wait, for a bounded time, until the attempts of callers that have left are settled."""
        await self._attempts.aclose()
        await self._throttle.aclose()
