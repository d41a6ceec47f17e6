"""The sessions of a user, as the user sees them: those that live, and those that a step-up can open again."""

from __future__ import annotations

from typing import Final

from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import ScriptRunner
from tollhouse.sessions.records import Session, sessions_listed
from tollhouse.sessions.user_keys import UserKeys, user_keys
from tollhouse.sessions.validation import valid_user

_RECORDS_PER_RUN: Final = 500
"""The most records that one run of `sessions/list` reads: a script blocks the server."""


class Lister:
    """Lists sessions."""

    def __init__(self, store: ScriptRunner, keyring: Keyring, metrics: Metrics, namespace: Namespace) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace

    async def list(self, user: str) -> tuple[Session, ...]:
        """Return the sessions of a user under every secret, as `Sessions.list` does."""
        user = valid_user(user)
        sessions = [
            session
            for own in user_keys(self._namespace, self._keyring, user)
            for session in await self.list_under(own, user)
        ]
        self._metrics.session("list", "ok")
        return tuple(sorted(sessions, key=_newest_first))

    async def list_under(self, own: UserKeys, user: str) -> tuple[Session, ...]:
        """Return the sessions of a user under one secret."""
        sessions: list[Session] = []
        sids = [sid.decode() for sid in await self._store.run("sessions/find", (own.index,), ())]
        for first in range(0, len(sids), _RECORDS_PER_RUN):
            part = sids[first : first + _RECORDS_PER_RUN]
            names = (own.epoch, own.global_epoch, *(own.record(sid) for sid in part))
            sessions.extend(sessions_listed(user, part, await self._store.run("sessions/list", names, (own.digest,))))
        return tuple(sorted(sessions, key=_newest_first))

    async def counted_under(self, own: UserKeys, user: str) -> tuple[Session, ...]:
        """Return those that the cap counts: the user's own, and no impersonation."""
        return tuple(session for session in await self.list_under(own, user) if session.impersonation is None)


def _newest_first(session: Session) -> tuple[int, str]:
    return -session.created_at, session.sid
