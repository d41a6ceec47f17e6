"""Creation: a session begins, or the cap decides what becomes of the login."""

from __future__ import annotations

from typing import Final

from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.logins import login_text
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.records import session_created
from tollhouse.sessions.tokens import RandomBytes
from tollhouse.sessions.user_keys import user_keys
from tollhouse.sessions.verbs.resumer import NewSession, Resumer

_AT_CAP: Final = SessionRefused(reason="at-cap")
_REFUSALS: Final = {2: SessionRefused(reason="disabled"), 3: _AT_CAP}


class Creator:
    """Creates sessions."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        namespace: Namespace,
        resumer: Resumer,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace
        self._resumer = resumer
        self._random_bytes = random_bytes

    async def create(self, new: NewSession, *, ended: bool) -> Issued | SessionRefused | CapReached:
        """Begin a session, as `Sessions.create` does; `ended` says whether what was ended for it before is durable."""
        own = user_keys(self._namespace, self._keyring, new.user)[0]
        token = tokens.issue(self._keyring, own.digest, self._random_bytes)
        verifier = tokens.verifier(self._keyring, token)
        assert verifier is not None, "the token was made under a secret that the keyring lacks"
        rules = new.rules
        times = (rules.idle_ms, rules.absolute_ms)
        at_cap = (rules.cap, int(rules.at_cap == "evict-oldest"))
        kept = (rules.renew_ms or 0, int(rules.on_idle == "lock"), login_text(new.login))

        reply, confirmed = await self._store.run_durably(
            "sessions/create",
            (own.record(token.sid), own.index, own.epoch, own.global_epoch, own.events, own.memo(token.sid)),
            (token.sid, verifier, new.user, own.digest, *times, *at_cap, own.record(), *kept, *new.details),
        )

        refusal = _REFUSALS.get(reply[0])
        self._metrics.session("create", "ok" if refusal is None else refusal.reason)
        if refusal == _AT_CAP and rules.at_cap == "ask":
            return await self._resumer.hold(own, new, ended=ended)
        if refusal is not None:
            return refusal
        session = session_created(token.sid, new.user, new.policy, new.label, new.login, reply)
        return Issued(session=session, token=token, durable=confirmed and ended)
