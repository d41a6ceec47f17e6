"""Sessions: authenticate a caller from login until the session ends by time, by its user or by the operator.

A session that ended stays ended: only the script of `create` brings a record into being, and every other script begins
by reading it. Each verb is one script call; what `verify` leaves to be written follows its answer, at most once a
minute for each session (see verbs/touches.py). An outage of the store raises StoreUnavailable and never looks like an
unknown session.

Revocations are also kept in the revocation log of the process (see revocation_log.py): they are replayed on a new
primary, and refused here whatever a server replies. The store calls `replay`, `on_announcement` and `on_gap` of
`revoker` for this.

After a rotation of the deployment's secret, sessions made under an older one live on until that secret is dropped:
`revoke_all`, `revoke` and `list` cover every secret. The cap counts the sessions under the newest only. A user who was
disabled before is disabled under the newest secret, too, at the next login.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions.events.opening import open_reader
from tollhouse.sessions.events.reader import SessionEventReader
from tollhouse.sessions.logins import valid_login
from tollhouse.sessions.outcomes import CapReached, Issued, Rotation, SessionRefused
from tollhouse.sessions.policies import POLICIES, Policies, SessionPolicy
from tollhouse.sessions.presentation import REUSED, Presentations
from tollhouse.sessions.records import Session, is_touch_due
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.revocations import Cause, CauseOfAll
from tollhouse.sessions.revoker import RevokeAllResult, Revoker, RevokeResult
from tollhouse.sessions.tickets import Ticket
from tollhouse.sessions.tokens import RandomBytes, Token
from tollhouse.sessions.verbs.creator import Creator
from tollhouse.sessions.verbs.csrf import is_csrf_token, make_csrf_token
from tollhouse.sessions.verbs.data_editor import DataEditor, DataRefused, DataResult, SessionData, initial_data
from tollhouse.sessions.verbs.disabler import Disabler, DisableResult, EnableResult
from tollhouse.sessions.verbs.explainer import Explainer, SessionEnd
from tollhouse.sessions.verbs.global_revoker import EveryoneResult, GlobalRevoker
from tollhouse.sessions.verbs.impersonator import (
    POLICY,
    ImpersonationEnded,
    ImpersonationRefused,
    Impersonator,
    Subject,
)
from tollhouse.sessions.verbs.lister import Lister
from tollhouse.sessions.verbs.replacements import Replacements
from tollhouse.sessions.verbs.resumer import NewSession, Resumer
from tollhouse.sessions.verbs.rotator import Rotator
from tollhouse.sessions.verbs.step_up import StepUp, StepUpRefused
from tollhouse.sessions.verbs.touches import Touches


class Sessions:
    """Creates, verifies, lists and revokes sessions of one namespace; needs a keyring with a secret."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        policies: Policies = POLICIES,
        *,
        namespace: Namespace = UNNAMED,
        revocation_log: RevocationLog | None = None,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        keyring.require_secret("sessions need it; a URL in the code reads no variable: give `load_settings()` instead")
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._policies = policies
        self._namespace = namespace
        self._log = RevocationLog() if revocation_log is None else revocation_log
        self.revoker = Revoker(store, keyring, metrics, self._log, namespace, random_bytes)
        self._random_bytes = random_bytes
        self._touches = Touches(store, metrics)
        self._presentations = Presentations(keyring, namespace, metrics, self._log, self.revoker)
        self._data = DataEditor(store, metrics, self._presentations)
        self._disabler = Disabler(store, keyring, metrics, namespace, self.revoker, random_bytes)
        self._lister = Lister(store, keyring, metrics, namespace)
        resumer = Resumer(store, keyring, metrics, namespace, self.revoker, self._lister, random_bytes)
        begin = (resumer, Replacements(self._look, self.revoker, self._data), self._disabler)
        self._creator = Creator(store, keyring, metrics, policies, namespace, *begin, random_bytes)
        self._explainer = Explainer(store, metrics, self._presentations)
        self._global_revoker = GlobalRevoker(store, metrics, namespace, self.revoker, random_bytes)
        self._rotator = Rotator(store, keyring, self._presentations, random_bytes)
        self._step_up = StepUp(self._presentations, self._rotator, random_bytes)
        ends = (self._presentations, self.revoker, self._disabler, self.verify)
        self._impersonator = Impersonator(store, keyring, metrics, namespace, *ends, random_bytes)

    @property
    def policies(self) -> Policies:
        """The policies by name, for the edge that makes cookies."""
        return self._policies

    def check(self, user: str, *, policy: str = "default", device: str | None = None) -> tuple[str, SessionPolicy, str]:
        """Return user, policy and device label as `create` uses them; raises InvalidInput as `create` does."""
        return self._creator.check(user, policy, device)

    async def create(
        self,
        user: str,
        *,
        policy: str = "default",
        device: str | None = None,
        replaces: Token | str | None = None,
        acr: str | None = None,
        amr: Sequence[str] = (),
        data: Mapping[str, Any] | None = None,
        carry: bool = False,
    ) -> Issued | SessionRefused | CapReached:
        """Begin a session under a new token; at the policy's cap, end the user's oldest session, refuse or ask.

        The session that the token `replaces` opens is ended first, also another user's: it is what the client presented
        when it logged in, and would have no owner. A result is durable if both are. `acr` is the level of the login,
        `amr` has its methods (RFC 8176), `data` the values that the session begins with. A visitor's session is ended
        once the other began, and with `carry` its data goes along, but for names that `data` has, too.
        """
        user, rules, label = self.check(user, policy=policy, device=device)
        login, values = valid_login(acr, amr), initial_data(data)
        new = NewSession(user=user, policy=policy, rules=rules, label=label, login=login, values=values)
        return await self._creator.log_in(new, replaces, data if carry else None, carry=carry)

    async def create_anonymous(
        self, data: Mapping[str, Any], *, policy: str = "anonymous", device: str | None = None
    ) -> Issued:
        """Begin the session of a visitor who has not logged in, to keep this data: `Session.anonymous` is True for it.

        Until there is something to keep a visitor needs no session. A login that `replaces` it ends it.
        """
        return await self._creator.create_anonymous(data, policy, device)

    async def resume(
        self, ticket: Ticket | str, *, end: Collection[str] = (), replaces: Token | str | None = None
    ) -> Issued | CapReached | SessionRefused:
        """Begin the session of a login that reached the cap, and end those that its user chose, in one step.

        The session is what the login asked for. A refusal ends nothing; if too few were chosen, or another login took
        the place, the ticket stays good. Raises InvalidInput for a sid that is not of the user. The session that the
        token `replaces` opens, which the client presented with the ticket, is ended then.
        """
        return await self._creator.resume(ticket, end, replaces)

    async def verify(self, token: Token | str, *, passive: bool = False, locked: bool = False) -> Session | None:
        """Return the session of a token, and record its use soon after; None if the token opens no live session.

        A `passive` request, such as a page's that polls by itself, is no use: it does not prolong the session. With
        `locked` one that a step-up can open again is returned, too, as `Session.locked` says: it allows nothing else.
        """
        shown = self._presentations.read("verify", token)
        if shown is None:
            return None
        reply = await self._store.run(
            "sessions/verify", shown.read_names, (shown.own.digest, shown.verifier, int(passive))
        )
        if reply[0] == REUSED:
            await self._presentations.end(shown, reply)
        session = self._presentations.session("verify", shown, reply, locked=locked)
        if is_touch_due(reply) and (session is not None or reply[0] != 1):
            self._touches.start(shown, passive=passive)
        return session

    async def impersonate(
        self, user: str, *, actor: str, actor_sid: str, reason: str, device: str | None = None
    ) -> Issued | ImpersonationRefused:
        """Begin a session in which an administrator acts as a user, from the live session `actor_sid` of `actor`."""
        user, rules, label = self.check(user, policy=POLICY, device=device)
        return await self._impersonator.begin(Subject(user=user, rules=rules, device=label), actor, actor_sid, reason)

    async def stop_impersonating(
        self, token: Token | str, actor_token: Token | str | None = None
    ) -> ImpersonationEnded | None:
        """End the impersonation of a token; the result has the session that began it, if `actor_token` opens just that.

        Return None if the token is of no impersonation: nothing is ended then.
        """
        return await self._impersonator.stop(token, actor_token)

    async def rotate(self, token: Token | str) -> Rotation | None:
        """Replace the secret of a session, as for a login of a higher level: the token opens nothing from then on.

        Return None if it opens no live session.
        """
        return await self._rotator.rotate(token)

    async def renew(self, token: Token | str) -> Rotation | None:
        """Return the token that a client is to hold: the one that it presented, or its successor if that is due.

        A policy says by `renew_ms` when it is; all who present the same token get the same successor. Return None if
        the token opens no live session.
        """
        return await self._rotator.renew(token)

    async def step_up(
        self, token: Token | str, *, acr: str | None = None, amr: Sequence[str] = ()
    ) -> Rotation | StepUpRefused:
        """Note that the user of a session was authenticated anew, at this level by these methods; open a locked one.

        The session gets another token, as by `rotate`, and its idle time and its lifetime begin anew. `acr` and `amr`
        replace those of before, also if they are not given.
        """
        return await self._step_up.step_up(token, acr, amr)

    async def data(self, token: Token | str) -> SessionData | None:
        """Return the data of a session; None if the token opens no live session. It counts as no use."""
        return await self._data.read(token)

    async def patch(
        self, token: Token | str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> DataResult | DataRefused:
        """Set values of a session's data, and remove those whose new value is None; the others stay.

        With `version`, only if the data has that one. A refusal changes nothing.
        """
        return await self._data.patch(token, changes, version)

    async def take(self, token: Token | str, name: str) -> DataResult | DataRefused:
        """Remove a value of a session's data and return it, None if there is none: only one caller gets it."""
        return await self._data.take(token, name)

    async def increment(self, token: Token | str, name: str, by: int = 1) -> DataResult | DataRefused:
        """Add to a whole number of a session's data, from 0 if there is none, and return the sum."""
        return await self._data.increment(token, name, by)

    def csrf_token(self, session: Session) -> str:
        """Return a new token for a form of a session's pages, which `is_csrf_token` checks when the form is sent."""
        return make_csrf_token(self._keyring, session.sid, self._random_bytes)

    def is_csrf_token(self, session: Session, csrf_token: str) -> bool:
        """Return whether a request of a session has a token of that session, so that none of its pages was forged."""
        return is_csrf_token(self._keyring, session.sid, csrf_token)

    async def list(self, user: str) -> tuple[Session, ...]:
        """Return the sessions of a user, the newest first: those that live, and those that a step-up can open again."""
        return await self._lister.list(user)

    async def why(self, token: Token | str) -> SessionEnd | None:
        """Return why the session of a token is over; None if it lives, or if the token was never its last one.

        That is known for 24 hours after the end. It counts as no use.
        """
        return await self._explainer.why(token)

    async def revoke(self, user: str, sid: str, *, cause: Cause = "revoked") -> RevokeResult:
        """End one session of a user; another user's session is left alone and reported as not found.

        `why` tells the `cause` to the client of the session.
        """
        return await self.revoker.revoke(user, sid, cause)

    async def revoke_all(
        self, user: str, *, keep: Session | None = None, cause: CauseOfAll = "revoked-all"
    ) -> RevokeAllResult:
        """End every session of a user that began before this call, except `keep`; later logins live."""
        return await self.revoker.revoke_all(user, keep, cause)

    async def disable(self, user: str) -> DisableResult:
        """End all sessions of a user, who gets no other until `enable`; that lasts, however long it is.

        It is about sessions alone: a password stays as it is.
        """
        return await self._disabler.disable(user)

    async def enable(self, user: str) -> EnableResult:
        """Allow a user to log in again; sessions of before stay over."""
        return await self._disabler.enable(user)

    async def is_disabled(self, user: str) -> bool:
        """Return whether a user is disabled."""
        return await self._disabler.is_disabled(user)

    async def revoke_everyone(self) -> EveryoneResult:
        """End every session of every user that began before this call; later logins live.

        It is 256 writes, whatever the number of sessions. If one fails, some users may be logged out: call it again.
        """
        return await self._global_revoker.revoke_everyone()

    def events(
        self, after: str | None = None, *, user: str | None = None, kinds: Collection[str] = ()
    ) -> SessionEventReader:
        """Return a reader of what happens to sessions: from now on, or all that followed a position or an event's id.

        It reads the events of one user, or of some kinds, if they are given; see sessions/events/reader.py.
        """
        return open_reader(self._store, self._keyring, self._metrics, self._namespace, after, user, kinds)

    async def aclose(self) -> None:
        """Wait until the use of sessions that were verified is recorded, or cannot be."""
        await self._touches.aclose()

    async def _look(self, token: Token | str) -> Session | None:
        return await self.verify(token, passive=True, locked=True)
