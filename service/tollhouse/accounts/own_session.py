"""The session in which a user acts on the own account: alive, of that user, and at a level that is enough."""

from __future__ import annotations

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.factors.available import takes_second_step
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.outcomes import LevelDue
from tollhouse.clock import UnixClock
from tollhouse.sessions.levels import satisfies
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused


async def own_session(sessions: Sessions, token: Token | str, *, locked: bool = False) -> Session | StepUpRefused:
    """Return the session of a token in which its own user acts; also one that is `locked`, if so asked."""
    session = await sessions.verify(token, passive=True, locked=locked)
    if session is None or session.impersonation is not None:
        return StepUpRefused(reason="over" if session is None else "impersonated")
    return session


class OwnLevel:
    """Asks a session for the level of a login, if one takes two steps: the right password alone is not enough then."""

    def __init__(self, rules: FactorRules, clock: UnixClock) -> None:
        self._rules = rules
        self._clock = clock

    def due(self, session: Session, verified: Credentials) -> LevelDue | None:
        """Return what a session lacks to change the account whose password was right; None if nothing."""
        second, levels = self._rules.second, self._rules.levels
        if not takes_second_step(verified):
            return None
        reached = satisfies(session, acr=second, levels=levels, now_ms=self._clock())
        return None if reached else LevelDue(level=second)
