"""Presented tokens: what a token names, and the session that a reply about it means to this process.

Every verb that a token authorizes begins and ends here, so that each refuses what the revocation log refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from tollhouse.errors import StoreError
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.sessions import tokens
from tollhouse.sessions.records import Session, session_verified
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.revocations import SessionRevoked
from tollhouse.sessions.revoker import Revoker
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.user_keys import UserKeys

REUSED: Final = 5
"""The reply of a script to the former secret after its grace, with the user."""
IMPERSONATED: Final = 11
"""The reply of a script that asks for the user to a session that another user acts in."""
_OUTCOMES: Final = {
    0: "unknown",
    1: "ok",
    2: "wrong-secret",
    3: "expired",
    4: "revoked",
    REUSED: "reused",
    10: "locked",
    IMPERSONATED: "impersonated",
}


class Presentation(Struct, frozen=True, kw_only=True):
    """A token that may open a session: what it names, and the verifier of its secret."""

    token: Token
    own: UserKeys
    verifier: str

    @property
    def read_names(self) -> tuple[str, ...]:
        """The keys of a script that only reads: the record and the epochs."""
        return self.own.read_names(self.token.sid)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of a script that may write: the record, the index, the epochs, the events and the memo."""
        own, sid = self.own, self.token.sid
        return own.record(sid), own.index, own.epoch, own.global_epoch, own.events, own.memo(sid)


class Presentations:
    """Reads tokens, and decides what the replies about them mean; counts both by verb."""

    def __init__(
        self, keyring: Keyring, namespace: Namespace, metrics: Metrics, log: RevocationLog, revoker: Revoker
    ) -> None:
        self._keyring = keyring
        self._namespace = namespace
        self._metrics = metrics
        self._log = log
        self._revoker = revoker

    def read(self, verb: str, token: Token | str) -> Presentation | None:
        """Return what a token names; None if it is malformed, of another secret, or of a session known to be over."""
        shown = self.read_ended(verb, token)
        if shown is not None and self._log.contains(shown.token.sid):
            self._metrics.session(verb, "revoked")
            return None
        return shown

    def read_ended(self, verb: str, token: Token | str) -> Presentation | None:
        """Return what a token names, also one of a session known to be over; None if it is malformed."""
        parsed = token if isinstance(token, Token) else tokens.parse(token)
        verifier = None if parsed is None else tokens.verifier(self._keyring, parsed)
        if parsed is None or verifier is None:
            self._metrics.session(verb, "malformed")
            return None
        own = UserKeys(namespace=self._namespace, digest=parsed.digest)
        return Presentation(token=parsed, own=own, verifier=verifier)

    def session(self, verb: str, shown: Presentation, reply: Sequence[Any], *, locked: bool = False) -> Session | None:
        """Return the session that the store accepted, also one that is `locked` if that is asked for.

        None for a refusal, and if this process knows that it is over.
        """
        outcome = _OUTCOMES[reply[0]]
        accepted = outcome == "ok" or (locked and outcome == "locked")
        session = self._unless_revoked(shown.token, reply) if accepted else None
        self._metrics.session(verb, "revoked" if accepted and session is None else outcome)
        return session

    def accepts(self, verb: str, shown: Presentation, reply: Sequence[Any]) -> bool:
        """Return whether the store accepted a token, as `session` does, by a reply with creation time and epochs."""
        outcome = _OUTCOMES[reply[0]]
        if outcome == "ok" and self._log.covers(shown.own.digest, shown.token.sid, reply[2], reply[3], reply[1]):
            outcome = "revoked"
        self._metrics.session(verb, outcome)
        return outcome == "ok"

    def is_known_over(self, digest: str, sid: str, reply: Sequence[Any]) -> bool:
        """Return whether this process knows that a session is over, by a reply with creation time and epochs."""
        return self._log.contains(sid) or self._log.covers(digest, sid, reply[2], reply[3], reply[1])

    async def end(self, shown: Presentation, reply: Sequence[Any]) -> None:
        """Revoke the session of a former secret that was presented too late: one of its two holders is a thief.

        The answer is None all the same if that cannot be written now; the next time that it is presented tries again.
        """
        revocation = SessionRevoked(user=reply[1].decode(), digest=shown.own.digest, sid=shown.token.sid)
        try:
            await self._revoker.end(revocation, kind="reused")
        except StoreError:
            self._metrics.session("end", "failed")
        else:
            self._metrics.session("end", "ok")

    def _unless_revoked(self, token: Token, reply: Sequence[Any]) -> Session | None:
        session, epochs = session_verified(token.sid, reply)
        return None if self._log.covers(token.digest, token.sid, *epochs, session.created_at) else session
