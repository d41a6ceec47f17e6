"""What every login and every step-up ends with, whatever its factor: a session, unless the account changed meanwhile.

A login that succeeds is counted here, and its client's device is trusted from then on.

A change of the account is stored first, and then ends the sessions of before. A login that verified what was before,
and creates its session after that end, would keep it. So the account is loaded again once the session exists: if the
change came first, the login ends its session itself, and answers as to a wrong password. If it comes after, it ends
this session with the others. What a crash left to do between the two (`revoke_due`) the next login does first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import LoginSucceeded, WrongCredentials
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import CapReached, Issued, Rotation, SessionRefused
from tollhouse.sessions.records import Session
from tollhouse.sessions.revoker import RevokeAllResult
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.step_up import StepUpRefused


class LoginSessions:
    """Begins sessions for credentials that were verified, and steps sessions up."""

    def __init__(self, store: CredentialStore, sessions: Sessions, throttle: Throttle, metrics: Metrics) -> None:
        self._store = store
        self._sessions = sessions
        self._throttle = throttle
        self._metrics = metrics

    async def begin(
        self,
        verified: Credentials,
        client: LoginClient,
        create: Callable[[], Awaitable[Issued | SessionRefused | CapReached]],
    ) -> LoginSucceeded | SessionRefused | CapReached | WrongCredentials:
        """Begin a session by `create`; if the account has changed since it was verified, end that session again.

        A user who is disabled is answered as one whose password is wrong. A ticket for a login at the cap is not
        returned after a change, and without it nothing opens.
        """
        await self.finish(verified)
        issued = await create()
        if issued == SessionRefused(reason="disabled"):
            return self._refusal()
        if not isinstance(issued, SessionRefused) and not await self._holds(verified):
            if isinstance(issued, Issued):
                await self._end(issued.session)
            return self._refusal()
        if not isinstance(issued, Issued):
            self._metrics.login("refused")
            return issued
        self._metrics.login("ok")
        session = issued.session
        device = self._throttle.new_device(session.user, session.created_at, client.device_token)
        return LoginSucceeded(issued=issued, device=device)

    async def step_up(
        self, verified: Credentials, step: Callable[[], Awaitable[Rotation | StepUpRefused]]
    ) -> Rotation | StepUpRefused | WrongCredentials:
        """Return what `step` does; if the account has changed since it was verified, end the session."""
        await self.finish(verified)
        stepped = await step()
        if isinstance(stepped, StepUpRefused) or await self._holds(verified):
            return stepped
        await self._end(stepped.session)
        return self._refusal()

    async def finish(self, credentials: Credentials, *, keep: Session | None = None) -> RevokeAllResult:
        """End the sessions of before a change of the account that is stored, except `keep`, unless they are over."""
        if not credentials.revoke_due:
            return RevokeAllResult(removed=0, durable=True)
        ended = await self._sessions.revoke_all(credentials.user, keep=keep)
        await self._store.replace(credentials, credentials.changed(revoke_due=False))
        return ended

    async def _holds(self, verified: Credentials) -> bool:
        """Return whether what was verified still opens the account."""
        now = await self._store.load(verified.user)
        return now is not None and not now.disabled and now.epoch == verified.epoch

    def _refusal(self) -> WrongCredentials:
        self._metrics.login("wrong")
        return WrongCredentials()

    async def _end(self, session: Session) -> None:
        await self._sessions.revoke(session.user, session.sid)
