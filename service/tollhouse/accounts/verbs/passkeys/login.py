"""Logins with a passkey: alone, which is two factors at once, or as the second step behind a password.

Alone it names no account: the passkey does, by the random user handle that is stored with it on the device. Whatever is
wrong, the answer is the same. A login by passkey ends the row of failures of the account, so that the password is good
again from every client (NIST SP 800-63B-4, 3.2.2), after the waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.tickets import LoginTicket
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import LoginSucceeded, TicketRefused, WrongCredentials
from tollhouse.accounts.passkeys.answers import Assertion
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyRefused
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.accounts.verbs.password_check import METHODS as PASSWORD
from tollhouse.accounts.verbs.second_step import SecondStep
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token

_VERIFIED: Final = ("user", "mfa")
"""The methods that a passkey brings beside its key: the user was there, and had a second factor for the device."""


def methods_of(passkey: Passkey) -> tuple[str, ...]:
    """Return the methods of an authentication by a passkey alone (RFC 8176)."""
    return (passkey.method, *_VERIFIED)


class PasskeyLogin:
    """Begins the sessions of users who show a passkey; they have the level `acr`."""

    def __init__(
        self,
        check: PasskeyCheck,
        store: CredentialStore,
        sessions: Sessions,
        logins: LoginSessions,
        second_step: SecondStep,
        throttle: Throttle,
        metrics: Metrics,
        *,
        acr: str,
    ) -> None:
        self._check = check
        self._store = store
        self._sessions = sessions
        self._logins = logins
        self._second_step = second_step
        self._throttle = throttle
        self._metrics = metrics
        self._acr = acr

    def options(self) -> PasskeyOptions:
        """Return options that ask for a passkey of any account."""
        return self._check.request("login")

    async def log_in(
        self,
        answer: Mapping[str, object],
        client: LoginClient,
        *,
        device: str | None,
        policy: str,
        replaces: Token | str | None,
        carry: bool,
    ) -> LoginSucceeded | PasskeyRefused | SessionRefused | CapReached:
        """Begin the session of the user whose passkey it is."""
        shown = self._check.read(answer, "login")
        found = None if shown is None else await self._find(shown)
        if shown is None or found is None:
            return self._refusal()
        self._sessions.check(found.user, policy=policy, device=device)
        proven = await self._check.prove(found, shown)
        if proven is None:
            return self._refusal()
        await self._throttle.end_row(found.user)
        chosen = partial(self._sessions.create, found.user, policy=policy, device=device, replaces=replaces)
        create = partial(chosen, carry=carry, acr=self._acr, amr=methods_of(proven.passkey))
        begun = await self._logins.begin(proven.credentials, client, create)
        return PasskeyRefused() if isinstance(begun, WrongCredentials) else begun

    async def second_options(self, ticket: LoginTicket | str) -> PasskeyOptions | TicketRefused | PasskeyRefused:
        """Return options that ask for a passkey of the user whose password was right."""
        login = await self._second_step.tickets.find(ticket)
        found = None if login is None else await self._second_step.verified(login)
        if found is None:
            return TicketRefused()
        if not found.passkeys:
            return PasskeyRefused()
        return self._check.request("second-step", _text(ticket), allowed=found.passkeys)

    async def by_second(
        self,
        ticket: LoginTicket | str,
        answer: Mapping[str, object],
        client: LoginClient,
        *,
        replaces: Token | str | None,
    ) -> LoginSucceeded | PasskeyRefused | TicketRefused | SessionRefused | CapReached:
        """Go on with a login whose password was right; no attempt of its ticket is charged, for nothing is guessed."""
        shown = self._check.read(answer, "second-step", _text(ticket))
        login = await self._second_step.tickets.find(ticket)
        found = None if login is None else await self._second_step.verified(login)
        if login is None or found is None:
            return TicketRefused()
        proven = None if shown is None else await self._check.prove(found, shown)
        if proven is None:
            return self._refusal()
        amr = (*PASSWORD, *methods_of(proven.passkey))
        return await self._second_step.finish(ticket, login, proven.credentials, amr, client, replaces=replaces)

    async def _find(self, shown: Assertion) -> Credentials | None:
        """Return the account that the passkey names."""
        if shown.user_handle is None:
            return None
        user = await self._store.find(shown.user_handle)
        found = None if user is None else await self._store.load(user)
        return found if found is not None and found.handle == shown.user_handle else None

    def _refusal(self) -> PasskeyRefused:
        self._metrics.login("wrong")
        return PasskeyRefused()


def _text(ticket: LoginTicket | str) -> str:
    return ticket.reveal() if isinstance(ticket, LoginTicket) else ticket
