"""Changes of factors in a session: made by who has shown the factors that there are, and told of by an event.

Callers see to it that the user of the session was authenticated lately, and that no other acts in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tollhouse.accounts.credentials.changes import StoredChange, change
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.available import highest_level
from tollhouse.accounts.factors.outcomes import FactorRefused, FactorsChanged
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.clock import UnixClock
from tollhouse.sessions.events.notes import AccountChange, AccountEvents
from tollhouse.sessions.levels import satisfies
from tollhouse.sessions.records import Session

NO_ACCOUNT: Final = FactorRefused(reason="no-account")

_Kept = TypeVar("_Kept")
"""What a decision is that changes nothing."""


class GuardedChanges:
    """Changes accounts for sessions that are at the highest level that the account can reach."""

    def __init__(
        self,
        store: CredentialStore,
        logins: LoginSessions,
        events: AccountEvents,
        *,
        rules: FactorRules,
        clock: UnixClock,
    ) -> None:
        self._store = store
        self._logins = logins
        self._events = events
        self._rules = rules
        self._clock = clock

    async def make(
        self,
        session: Session,
        decide: Callable[[Credentials], Credentials | FactorRefused],
        *,
        kind: AccountChange | None = None,
        end_others: bool = False,
    ) -> FactorsChanged | FactorRefused:
        """Store what `decide` makes of the account; write an event of the kind, and end the user's other sessions."""

        def decided(now: Credentials) -> Credentials | FactorRefused:
            after = decide(now)
            return after.changed_over() if end_others and isinstance(after, Credentials) else after

        changed = await self.decide(session, decided)
        if isinstance(changed, FactorRefused):
            return changed
        durable = changed.durable
        if end_others:
            durable = (await self._logins.finish(changed.credentials, keep=session)).durable and durable
        if kind is not None:
            await self._events.write(kind, session.user, session.sid)
        return FactorsChanged(durable=durable)

    async def decide(
        self, session: Session, decide: Callable[[Credentials], Credentials | _Kept]
    ) -> StoredChange | _Kept | FactorRefused:
        """Store what `decide` makes of the account of a session that may change it, or return what else it returns."""

        def decided(now: Credentials) -> Credentials | _Kept | FactorRefused:
            refusal = self._refusal(session, now)
            return decide(now) if refusal is None else refusal

        changed = await change(self._store, await self._store.load(session.user), decided)
        return NO_ACCOUNT if changed is None else changed

    def _refusal(self, session: Session, now: Credentials) -> FactorRefused | None:
        """Return why a session may change nothing of an account, or None."""
        if now.disabled:
            return NO_ACCOUNT
        levels = self._rules.levels
        level = highest_level(now, levels, passkeys=self._rules.passkeys)
        if level == levels[0]:
            return None
        reached = satisfies(session, acr=level, levels=levels, now_ms=self._clock())
        return None if reached else FactorRefused(reason="level", level=level)
