"""Passkeys: what an application does with them, over `tollhouse.accounts.passkeys` and the login of accounts.

Each verb takes two requests: the first returns options for the browser, the second the browser's answer. Between them
nothing is kept. An `answer` is what `PublicKeyCredential.toJSON()` returned, as a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping

from tollhouse.accounts.credentials.credentials import CredentialStore
from tollhouse.accounts.factors.outcomes import FactorRefused, FactorsChanged
from tollhouse.accounts.factors.tickets import LoginTicket
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import LoginSucceeded, TicketRefused
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded, PasskeyConfirmed, PasskeyRefused
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.accounts.verbs.guarded_changes import GuardedChanges
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.passkeys.changes import PasskeyChanges
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.accounts.verbs.passkeys.login import PasskeyLogin
from tollhouse.accounts.verbs.passkeys.step_up import PasskeyStepUp
from tollhouse.accounts.verbs.second_step import SecondStep
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused


class Passkeys:
    """Logs users in by passkeys, steps their sessions up, and changes which passkeys they have."""

    def __init__(
        self,
        check: PasskeyCheck,
        store: CredentialStore,
        sessions: Sessions,
        logins: LoginSessions,
        second_step: SecondStep,
        throttle: Throttle,
        changes: GuardedChanges,
        metrics: Metrics,
        *,
        acr: str,
    ) -> None:
        self._login = PasskeyLogin(check, store, sessions, logins, second_step, throttle, metrics, acr=acr)
        self._step_up = PasskeyStepUp(check, store, sessions, logins, metrics, acr=acr)
        self._changes = PasskeyChanges(check, store, changes)

    def login_options(self) -> PasskeyOptions:
        """Return what a page gives `navigator.credentials.get`, for a login of any account; it takes no store."""
        return self._login.options()

    async def login(
        self,
        answer: Mapping[str, object],
        *,
        device: str | None = None,
        device_token: str | None = None,
        policy: str = "default",
        replaces: Token | str | None = None,
        carry: bool = False,
    ) -> LoginSucceeded | PasskeyRefused | SessionRefused | CapReached:
        """Begin a session of the second level if the answer is right; the options are those of `Accounts.login`.

        Raises InvalidInput for what no browser answers.
        """
        client = LoginClient(address="", device_token=device_token)
        return await self._login.log_in(answer, client, device=device, policy=policy, replaces=replaces, carry=carry)

    async def second_step_options(self, ticket: LoginTicket | str) -> PasskeyOptions | TicketRefused | PasskeyRefused:
        """Return options for the second step of a login, whose password was right and gave the ticket.

        It is PasskeyRefused if the account has no passkey.
        """
        return await self._login.second_options(ticket)

    async def second_step(
        self,
        ticket: LoginTicket | str,
        answer: Mapping[str, object],
        *,
        device_token: str | None = None,
        replaces: Token | str | None = None,
    ) -> LoginSucceeded | PasskeyRefused | TicketRefused | SessionRefused | CapReached:
        """Begin the session of a login whose password was right, as `Accounts.login_by_code` does by a code."""
        client = LoginClient(address="", device_token=device_token)
        return await self._login.by_second(ticket, answer, client, replaces=replaces)

    async def step_up_options(self, session: Session) -> PasskeyOptions | PasskeyRefused | StepUpRefused:
        """Return options that ask the user of a session for a passkey; PasskeyRefused if there is none."""
        return await self._step_up.options(session)

    async def step_up(
        self, token: Token | str, answer: Mapping[str, object]
    ) -> PasskeyConfirmed | PasskeyRefused | StepUpRefused:
        """Step a session up, also one that is locked, if the answer is that of a passkey of its user."""
        return await self._step_up.step_up(token, answer)

    async def creation_options(self, session: Session) -> PasskeyOptions | FactorRefused:
        """Return what a page gives `navigator.credentials.create`.

        Callers see to it that the user was authenticated lately, and that no other acts in the session, here as in each
        change; it must be at the highest level that the account can reach.
        """
        return await self._changes.options(session)

    async def register(
        self, session: Session, answer: Mapping[str, object], name: str, *, end_others: bool = False
    ) -> PasskeyAdded | PasskeyRefused | FactorRefused:
        """Add a passkey under a name that its user chose; with `end_others` the user's other sessions end."""
        return await self._changes.register(session, answer, name, end_others=end_others)

    async def rename(self, session: Session, passkey_id: str, name: str) -> FactorsChanged | FactorRefused:
        """Store another name for a passkey."""
        return await self._changes.rename(session, passkey_id, name)

    async def remove(
        self, session: Session, passkey_id: str, *, end_others: bool = False
    ) -> FactorsChanged | FactorRefused:
        """Remove a passkey; it is refused for the last one of an account that has no password."""
        return await self._changes.remove(session, passkey_id, end_others=end_others)

    async def list(self, user: str) -> tuple[Passkey, ...] | None:
        """Return the passkeys of a user, in the order in which they were added; None if there is no account."""
        return await self._changes.list(user)
