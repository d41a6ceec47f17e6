"""Why a session is over: told to a client that has its last token, for 24 hours after the end.

What stays of a session is a key of its own, without data and without a way back: no verb that opens a session reads it.
"""

from __future__ import annotations

from typing import Final, Literal, cast

from msgspec import Struct

from tollhouse.metrics import Metrics
from tollhouse.scripts import ScriptRunner
from tollhouse.sessions.presentation import Presentations
from tollhouse.sessions.tokens import Token

EndReason = Literal[
    "idle",
    "locked",
    "expired",
    "evicted",
    "logged-out",
    "revoked",
    "revoked-all",
    "revoked-by-admin",
    "replaced",
    "reused",
    "impersonation-ended",
    "disabled",
    "everyone",
]

_ENDED: Final = 2
_OUTCOMES: Final = {0: "unknown", 1: "alive", _ENDED: "ok"}


class SessionEnd(Struct, frozen=True, kw_only=True):
    """Why a session is over, and since when in milliseconds of the server's clock.

    `idle`: it was not used for too long. `locked`: the same, but a step-up opens it again. `expired`: it reached its
    absolute end. `evicted`: a later login of its user exceeded the cap. `logged-out`: its client logged out. `revoked`:
    its user ended it from another session. `revoked-all`: its user ended all, or all others. `revoked-by-admin`: an
    administrator ended it. `replaced`: a new login in the same client ended it. `reused`: its former token came back
    after its grace, so two clients had it. `impersonation-ended`: the administrator who acted as the user stopped, or
    was logged out. `disabled`: its user was disabled. `everyone`: all sessions of all users were ended.
    """

    reason: EndReason
    at: int


class Explainer:
    """Tells why sessions are over."""

    def __init__(self, store: ScriptRunner, metrics: Metrics, presentations: Presentations) -> None:
        self._store = store
        self._metrics = metrics
        self._presentations = presentations

    async def why(self, token: Token | str) -> SessionEnd | None:
        """Return why a session is over, as `Sessions.why` does."""
        shown = self._presentations.read_ended("why", token)
        if shown is None:
            return None
        names = (*shown.read_names, shown.own.memo(shown.token.sid))
        reply = await self._store.run("sessions/why", names, (shown.own.digest, shown.verifier))
        self._metrics.session("why", _OUTCOMES[reply[0]])
        if reply[0] != _ENDED:
            return None
        _, reason, at = reply
        return SessionEnd(reason=cast("EndReason", reason.decode()), at=at)
