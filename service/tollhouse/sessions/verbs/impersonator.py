"""Impersonation: an administrator acts as a user, in a session of its own that names who it is and why.

It begins from a live session of the administrator, and leads back to that one alone. The user sees it in the list of
sessions and can end it; whatever ends the user's sessions ends it too. It is outside the cap on them, has timeouts of
its own (the policy `impersonation`), and begins no other.

Administrator and user have different hash tags, so no script sees both sessions. The impersonation is noted beside
the administrator's session first, and that session is looked at again behind it: so what ends the administrator's
session in between has either read the note, or is seen.

**What ends with the administrator's session.** `revoke`, `revoke_all` and `disable` of the administrator end the
impersonations that the sessions had begun, by calls that follow: if one fails, the error says that the result is
ambiguous, and the same call again ends them. An end by time, by a later login at the cap, or of all sessions whose
index was lost does not: those impersonations end by their own timeouts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import InvalidInput, Steps
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.logins import Impersonation, LoginContext, login_text
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.presentation import Presentations
from tollhouse.sessions.records import Session, session_created
from tollhouse.sessions.revoker import Revoker
from tollhouse.sessions.tokens import RandomBytes, Token
from tollhouse.sessions.user_keys import UserKeys, user_keys
from tollhouse.sessions.validation import USER_CHARACTERS_MAX, valid_text
from tollhouse.sessions.verbs.disabler import Disabler

POLICY: Final = "impersonation"
"""The policy of impersonations."""
REASON_CHARACTERS_MAX: Final = 200
NOTES_MAX: Final = 50
"""The most impersonations that an administrator begins within the absolute lifetime of one."""

Verify = Callable[[Token | str], Awaitable[Session | None]]
"""Returns the session of a token, as `Sessions.verify` does."""


class ImpersonationRefused(Struct, frozen=True, kw_only=True):
    """No impersonation was begun.

    `actor-over`: the administrator has no such live session. `nested`: it is an impersonation itself. `disabled`: the
    user is. `at-cap`: the user has as many impersonations as the policy allows, or the administrator has begun 50
    that may live.
    """

    reason: Literal["actor-over", "nested", "disabled", "at-cap"]

    def __bool__(self) -> Literal[False]:
        """Return False, so that a type checker knows a true result as `Issued`."""
        return False


class ImpersonationEnded(Struct, frozen=True, kw_only=True):
    """An impersonation is over; `session` is the one that began it, None if the token given for it does not open that.

    `durable` is True if the end survives a failover, and False for one that had ended before.
    """

    session: Session | None
    durable: bool


_BEGUN: Final = 1
_NESTED: Final = 11
_AT_CAP: Final = ImpersonationRefused(reason="at-cap")
_ACTOR_OVER: Final = ImpersonationRefused(reason="actor-over")
_ACTOR_REFUSALS: Final = {_NESTED: ImpersonationRefused(reason="nested"), 12: _AT_CAP}
_REFUSALS: Final = {2: ImpersonationRefused(reason="disabled"), 3: _AT_CAP}


class Subject(Struct, frozen=True, kw_only=True):
    """The user of an impersonation, with the policy and the label of the session; all of them are valid."""

    user: str
    rules: SessionPolicy
    device: str


class WayBack(Struct, frozen=True, kw_only=True):
    """The session that began an impersonation, and whether the end of the impersonation is durable."""

    actor_sid: str
    durable: bool


class Impersonator:
    """Begins impersonations, and tells where they lead back to."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        namespace: Namespace,
        presentations: Presentations,
        revoker: Revoker,
        disabler: Disabler,
        verify: Verify,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace
        self._presentations = presentations
        self._revoker = revoker
        self._disabler = disabler
        self._verify = verify
        self._random_bytes = random_bytes

    async def begin(self, subject: Subject, actor: str, actor_sid: str, reason: str) -> Issued | ImpersonationRefused:
        """Begin an impersonation, as `Sessions.impersonate` does."""
        acting = _acting(subject.user, actor, actor_sid, reason)
        with Steps() as steps:
            await self._disabler.take_along(subject.user, steps)
            result = await self._begin(subject, acting, steps)
        self._metrics.session("impersonate", "ok" if isinstance(result, Issued) else result.reason)
        return result

    async def stop(self, token: Token | str, actor_token: Token | str | None) -> ImpersonationEnded | None:
        """End the impersonation of a token, as `Sessions.stop_impersonating` does.

        One that is over already leads back too, for 24 hours after its end.
        """
        with Steps() as steps:
            stopped = await self._stop(token)
            if stopped is None:
                return None
            steps.begun = True
            session = None if actor_token is None else await self._verify(actor_token)
        leads_back = session is not None and session.sid == stopped.actor_sid
        return ImpersonationEnded(session=session if leads_back else None, durable=stopped.durable)

    async def _stop(self, token: Token | str) -> WayBack | None:
        """End the impersonation of a token; return None if it is none."""
        shown = self._presentations.read_ended("stop", token)
        if shown is None:
            return None
        own, sid = shown.own, shown.token.sid
        names = own.record(sid), own.memo(sid)
        found, *texts = await self._store.run("sessions/impersonation", names, (own.digest, shown.verifier))
        self._metrics.session("stop", "ok" if found else "unknown")
        if not found:
            return None
        actor_sid, user = (text.decode() for text in texts)
        durable = bool(user) and (await self._revoker.revoke(user, sid, "impersonation-ended")).durable
        return WayBack(actor_sid=actor_sid, durable=durable)

    async def _begin(self, subject: Subject, acting: Impersonation, steps: Steps) -> Issued | ImpersonationRefused:
        own = user_keys(self._namespace, self._keyring, subject.user)[0]
        token = tokens.issue(self._keyring, own.digest, self._random_bytes)
        refused = await self._note(acting, subject, token.sid)
        if refused is not None:
            return refused
        steps.begun = True
        result = await self._issue(subject, acting, own, token)
        if isinstance(result, Issued) and await self._note(acting, subject, token.sid) is not None:
            await self._revoker.revoke(subject.user, token.sid, "impersonation-ended")
            return _ACTOR_OVER
        return result

    async def _note(self, acting: Impersonation, subject: Subject, sid: str) -> ImpersonationRefused | None:
        """Note an impersonation on the session that begins it; return why that is refused, None if it is not."""
        actor_sid = acting.actor_sid
        if not tokens.is_sid(actor_sid):
            return _ACTOR_OVER
        for own in user_keys(self._namespace, self._keyring, acting.actor):
            names = own.record(actor_sid), own.epoch, own.global_epoch
            args = own.digest, sid, subject.user, subject.rules.absolute_ms, NOTES_MAX, actor_sid
            reply = await self._store.run("sessions/act", names, args)
            if reply[0] == _BEGUN:
                known_over = self._presentations.is_known_over(own.digest, actor_sid, reply)
                return _ACTOR_OVER if known_over else None
            if reply[0] in _ACTOR_REFUSALS:
                return _ACTOR_REFUSALS[reply[0]]
        return _ACTOR_OVER

    async def _issue(
        self, subject: Subject, acting: Impersonation, own: UserKeys, token: Token
    ) -> Issued | ImpersonationRefused:
        verifier = tokens.verifier(self._keyring, token)
        assert verifier is not None, "the token was made under a secret that the keyring lacks"
        login, rules = LoginContext(impersonation=acting), subject.rules
        bounds = (rules.idle_ms, rules.absolute_ms, rules.cap, own.record())
        who = (acting.actor, acting.actor_sid, acting.reason, login_text(login))

        reply, confirmed = await self._store.run_durably(
            "sessions/impersonate",
            (own.record(token.sid), own.index, own.epoch, own.global_epoch, own.events, own.memo(token.sid)),
            (token.sid, verifier, subject.user, own.digest, *bounds, *who, "p", POLICY, "dv", subject.device),
        )

        refusal = _REFUSALS.get(reply[0])
        if refusal is not None:
            return refusal
        session = session_created(token.sid, subject.user, POLICY, subject.device, login, reply)
        return Issued(session=session, token=token, durable=confirmed)


def _acting(user: str, actor: str, actor_sid: str, reason: str) -> Impersonation:
    who = valid_text("actor", actor, shortest=1, longest=USER_CHARACTERS_MAX)
    if who == user:
        raise InvalidInput("actor", actor, "name another user: none can impersonate itself")
    sid = valid_text("actor_sid", actor_sid, shortest=1, longest=USER_CHARACTERS_MAX)
    why = valid_text("reason", reason, shortest=1, longest=REASON_CHARACTERS_MAX)
    return Impersonation(actor=who, actor_sid=sid, reason=why)
