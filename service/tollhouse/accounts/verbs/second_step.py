"""The second step of a login: the password was right, and a second factor of the user follows.

The ticket between the two is a bearer secret (see factors/tickets.py). A remembered device stands for no factor. What
the first step verified must still hold: a change of the password, as any that ends the sessions of before, ends the
tickets of before, too, because the credentials have another epoch then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.available import second_factors
from tollhouse.accounts.factors.codes import CodeFactor
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.factors.tickets import HeldLogin, LoginTicket, LoginTickets
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import (
    AttemptThrottled,
    LoginSucceeded,
    SecondFactorDue,
    TicketRefused,
    WrongCode,
    WrongCredentials,
)
from tollhouse.accounts.verbs.code_check import CodeCheck
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token

METHODS: Final[Mapping[CodeFactor, tuple[str, ...]]] = {
    "totp": ("pwd", "otp", "mfa"),
    "recovery": ("pwd", "recovery", "mfa"),
}
"""The methods of a login whose second factor this is (RFC 8176)."""


class SecondStep:
    """Holds logins that take a second factor, and begins their sessions, which have the second level."""

    def __init__(
        self,
        store: CredentialStore,
        sessions: Sessions,
        check: CodeCheck,
        logins: LoginSessions,
        tickets: LoginTickets,
        keyring: Keyring,
        metrics: Metrics,
        *,
        rules: FactorRules,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._check = check
        self._logins = logins
        self.tickets = tickets
        self._keyring = keyring
        self._metrics = metrics
        self._acr = rules.second
        self._passkeys = rules.passkeys

    async def hold(self, verified: Credentials, *, policy: str, device: str | None, carry: bool) -> SecondFactorDue:
        """Keep a login whose password was right, as its client asked for it, and return the ticket that opens it."""
        login = HeldLogin(user=verified.user, epoch=verified.epoch, policy=policy, device=device, carry=carry)
        held = await self.tickets.hold(login)
        self._metrics.login("second-factor")
        factors = second_factors(verified, self._keyring.key_ids(), passkeys=self._passkeys)
        return SecondFactorDue(ticket=held.ticket, expires_at=held.expires_at, factors=factors)

    async def by_code(
        self,
        ticket: LoginTicket | str,
        factor: CodeFactor,
        text: str,
        client: LoginClient,
        *,
        replaces: Token | str | None,
    ) -> LoginSucceeded | WrongCode | TicketRefused | AttemptThrottled | SessionRefused | CapReached:
        """Begin the session of a ticket if the code is right; count an attempt that is not, also at the ticket."""
        code = self._check.required(factor, text)
        login = await self.tickets.find(ticket)
        if login is None:
            return TicketRefused()
        load = partial(self._try, ticket, login)
        verified = await self._check.spend(factor, login.user, code, client, load)
        if not isinstance(verified, Credentials):
            return TicketRefused() if verified is None else verified
        return await self.finish(ticket, login, verified, METHODS[factor], client, replaces=replaces)

    async def verified(self, login: HeldLogin) -> Credentials | None:
        """Return the account of a login; None if its password opens it no longer."""
        found = await self._store.load(login.user)
        return found if found is not None and not found.disabled and found.epoch == login.epoch else None

    async def finish(
        self,
        ticket: LoginTicket | str,
        login: HeldLogin,
        verified: Credentials,
        amr: Sequence[str],
        client: LoginClient,
        *,
        replaces: Token | str | None,
    ) -> LoginSucceeded | TicketRefused | SessionRefused | CapReached:
        """Begin the session of a ticket whose second factor was right, and spend the ticket: one request does it.

        The client's device is trusted from then on, and not before.
        """
        if not await self.tickets.use_up(ticket):
            return TicketRefused()
        chosen = partial(self._sessions.create, login.user, policy=login.policy, device=login.device)
        create = partial(chosen, replaces=replaces, carry=login.carry, acr=self._acr, amr=amr)
        begun = await self._logins.begin(verified, client, create)
        return TicketRefused() if isinstance(begun, WrongCredentials) else begun

    async def _try(self, ticket: LoginTicket | str, login: HeldLogin) -> Credentials | None:
        """Charge an attempt to the ticket, and return the account; None if it opens nothing any more."""
        return None if await self.tickets.attempt(ticket) is None else await self.verified(login)
