"""Logins that wait at the cap, until their user has chosen what to end: a ticket keeps each for five minutes.

The ticket has the login as it was: its user, policy, device and level, none of which its client can change any more.
To resume it is one script: it ends what was chosen, and begins the session, or writes nothing. So the cap stays exact,
and one ticket begins one session, however many requests have it. What was chosen is revoked as by `revoke`: on every
process, and again on a new primary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec import Struct

from tollhouse.errors import InvalidInput, Steps, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, DurableScriptRunner
from tollhouse.sessions import tickets, tokens
from tollhouse.sessions.logins import LoginContext, login_text
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.policies import CAP_MAX, SessionPolicy
from tollhouse.sessions.records import session_resumed
from tollhouse.sessions.revocations import SessionRevoked, announcement
from tollhouse.sessions.revoker import Revoker
from tollhouse.sessions.tickets import LIFE_MS, Ticket
from tollhouse.sessions.tokens import RandomBytes, Token
from tollhouse.sessions.user_keys import UserKeys
from tollhouse.sessions.verbs.lister import Lister

_NO_TICKET: Final = SessionRefused(reason="ticket")
_KEPT: Final = 1
_ANY_SID: Final = "a" * 26
"""Stands for the sids that only the choice will tell, where an announcement has one."""
_REMEDY: Final = "choose from the sessions that the refusal of the login has"


class NewSession(Struct, frozen=True, kw_only=True):
    """What the session of a login is to be."""

    user: str
    policy: str
    rules: SessionPolicy
    label: str
    login: LoginContext
    values: Sequence[Argument]

    @property
    def details(self) -> tuple[Argument, ...]:
        """What else its record stores, as pairs."""
        return "p", self.policy, "dv", self.label, *self.values


class Resumer:
    """Keeps logins under tickets, and resumes them."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        namespace: Namespace,
        revoker: Revoker,
        lister: Lister,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace
        self._revoker = revoker
        self._lister = lister
        self._random_bytes = random_bytes

    async def hold(self, own: UserKeys, new: NewSession, *, ended: bool) -> CapReached | SessionRefused:
        """Keep a login under a new ticket; `ended` says whether what was ended for it before is durable.

        The ticket is written last: what fails before leaves nothing, and nothing can be done with a ticket whose
        secret was never told.
        """
        rules = new.rules
        sessions = await self._lister.counted_under(own, new.user)
        ticket = tickets.issue(self._keyring, own.digest, self._random_bytes)
        verifier = tickets.verifier(self._keyring, ticket)
        assert verifier is not None, "the ticket was made under a secret that the keyring lacks"
        kept = (rules.renew_ms or 0, int(rules.on_idle == "lock"), login_text(new.login))
        notice = announcement(SessionRevoked(user=new.user, digest=own.digest, sid=_ANY_SID)).rpartition(_ANY_SID)

        reply, durable = await self._store.run_durably(
            "sessions/ask",
            (own.ticket, own.epoch, own.global_epoch),
            (
                verifier,
                new.user,
                LIFE_MS,
                rules.idle_ms,
                rules.absolute_ms,
                rules.cap,
                *kept,
                *notice[::2],
                *new.details,
            ),
        )

        if reply[0] != _KEPT:
            self._metrics.session("ask", "disabled")
            return SessionRefused(reason="disabled")
        self._metrics.session("ask", "ok")
        ends = max(1, len(sessions) - rules.cap + 1)
        return CapReached(ticket=ticket, expires_at=reply[1], sessions=sessions, ends=ends, durable=durable and ended)

    async def resume(self, ticket: Ticket | str, end: Collection[str]) -> Issued | CapReached | SessionRefused:
        """Begin the session of a ticket, as `Sessions.resume` does."""
        sids = _chosen(end)
        shown = ticket if isinstance(ticket, Ticket) else tickets.parse(ticket)
        verifier = None if shown is None else tickets.verifier(self._keyring, shown)
        if shown is None or verifier is None:
            self._metrics.session("resume", "malformed")
            return _NO_TICKET
        token = tokens.issue(self._keyring, shown.digest, self._random_bytes, key_id=shown.key_id)
        replays = self._revoker.replays
        reply, durable = await self._run(verifier, token, sids)
        match reply[0]:
            case 1:
                with Steps() as steps:
                    steps.begun = True
                    await self._record(token, reply, sids, replays)
                self._metrics.session("resume", "ok")
                return Issued(session=session_resumed(token.sid, reply), token=token, durable=durable)
            case 3:
                self._metrics.session("resume", "at-cap")
                return await self._still_at_cap(shown, reply)
            case 4:
                self._metrics.session("resume", "unknown-session")
                number: int = reply[1]
                raise InvalidInput("end", sids[number - 1], _REMEDY)
            case _:
                self._metrics.session("resume", "unknown")
                return _NO_TICKET

    async def _run(self, shown: str, token: Token, sids: Sequence[str]) -> tuple[list[Any], bool]:
        own, sid = UserKeys(namespace=self._namespace, digest=token.digest), token.sid
        verifier = tokens.verifier(self._keyring, token)
        assert verifier is not None, "the ticket is of a secret that is configured"
        names = (own.ticket, own.record(sid), own.index, own.epoch, own.global_epoch, own.events, own.memo(sid))
        chosen = [name for sid in sids for name in (own.record(sid), own.memo(sid))]
        channel = self._namespace.session_revocations
        args = (shown, sid, verifier, token.digest, own.record(), channel, *sids)
        return await self._store.run_durably("sessions/resume", (*names, *chosen), args)

    async def _record(self, token: Token, reply: Sequence[Any], sids: Sequence[str], replays: int) -> None:
        user = reply[4].decode()
        for sid in sids:
            await self._revoker.record(SessionRevoked(user=user, digest=token.digest, sid=sid), replays)

    async def _still_at_cap(self, ticket: Ticket, reply: Sequence[Any]) -> CapReached:
        _, ends, expires_at, user = reply
        own = UserKeys(namespace=self._namespace, digest=ticket.digest)
        sessions = await self._lister.counted_under(own, user.decode())
        return CapReached(ticket=ticket, expires_at=expires_at, sessions=sessions, ends=ends, durable=True)


def _chosen(end: Collection[str]) -> tuple[str, ...]:
    """Return the sids to end, each once: what is none must not become part of a key name."""
    if isinstance(end, str):
        raise InvalidInput("end", "str", "give a list of sids")
    require_type("end", end, Collection, "give a list of sids, which may be empty")
    if len(end) > CAP_MAX:
        raise InvalidInput("end", len(end), f"give at most {CAP_MAX} sids")
    for sid in end:
        require_type("end", sid, str, "give each sid as text")
        if not tokens.is_sid(sid):
            raise InvalidInput("end", sid, _REMEDY)
    return tuple(dict.fromkeys(end))
