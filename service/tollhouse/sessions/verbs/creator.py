"""Creation: a session begins, or the cap decides what becomes of the login."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec.structs import replace

from tollhouse.errors import InvalidInput, Steps, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.logins import UNKNOWN_LOGIN, login_text
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.policies import Policies, SessionPolicy
from tollhouse.sessions.records import session_created
from tollhouse.sessions.tickets import Ticket
from tollhouse.sessions.tokens import RandomBytes, Token
from tollhouse.sessions.user_keys import user_keys
from tollhouse.sessions.validation import named_user, valid_device
from tollhouse.sessions.verbs.data_editor import initial_data
from tollhouse.sessions.verbs.disabler import Disabler
from tollhouse.sessions.verbs.replacements import Replacements
from tollhouse.sessions.verbs.resumer import NewSession, Resumer
from tollhouse.suggest import one_of

_AT_CAP: Final = SessionRefused(reason="at-cap")
_REFUSALS: Final = {2: SessionRefused(reason="disabled"), 3: _AT_CAP}


class Creator:
    """Creates sessions."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        policies: Policies,
        namespace: Namespace,
        resumer: Resumer,
        replacements: Replacements,
        disabler: Disabler,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._policies = policies
        self._namespace = namespace
        self._resumer = resumer
        self._replacements = replacements
        self._disabler = disabler
        self._random_bytes = random_bytes

    def check(self, user: str, policy: str, device: str | None) -> tuple[str, SessionPolicy, str]:
        """Return user, policy and device label as they are used, as `Sessions.check` does."""
        return named_user(user), self._rules(policy), valid_device(device or "")

    def visitor(self, data: Mapping[str, Any], policy: str, device: str | None) -> NewSession:
        """Return the session of a visitor; the name is random, so the keys of visitors spread over the hash tags."""
        require_type("data", data, Mapping, "give names and values")
        if all(value is None for value in data.values()):
            raise InvalidInput("data", len(data), "give what is to be kept: without data a visitor needs no session")
        rules, label = self._rules(policy), valid_device(device or "")
        user = f"anonymous:{tokens.new_sid(self._random_bytes)}"
        values = initial_data(data)
        return NewSession(user=user, policy=policy, rules=rules, label=label, login=UNKNOWN_LOGIN, values=values)

    def _rules(self, policy: str) -> SessionPolicy:
        require_type("policy", policy, str, "name the policy as text")
        if policy not in self._policies:
            raise InvalidInput("policy", policy, one_of(policy, self._policies))
        return self._policies[policy]

    async def log_in(
        self, new: NewSession, replaces: Token | str | None, data: Mapping[str, Any] | None, *, carry: bool
    ) -> Issued | SessionRefused | CapReached:
        """Begin a session in place of the one that was presented, as `Sessions.create` does."""
        with Steps() as steps:
            replacement = await self._replacements.begin(replaces, steps)
            if carry:
                carried = await self._replacements.carried(replaces, replacement)
                new = replace(new, values=initial_data({**carried, **(data or {})}))
            await self._disabler.take_along(new.user, steps)
            result = await self.create(new, ended=replacement.durable)
            return await self._replacements.finish(replacement, result, steps)

    async def create_anonymous(self, data: Mapping[str, Any], policy: str, device: str | None) -> Issued:
        """Begin the session of a visitor, as `Sessions.create_anonymous` does."""
        result = await self.create(self.visitor(data, policy, device), ended=True)
        assert isinstance(result, Issued), "a random user is not disabled, and has no other session"
        return result

    async def resume(
        self, ticket: Ticket | str, end: Collection[str], replaces: Token | str | None
    ) -> Issued | CapReached | SessionRefused:
        """Begin the session of a ticket, as `Sessions.resume` does."""
        with Steps() as steps:
            result = await self._resumer.resume(ticket, end)
            if not isinstance(result, Issued):
                return result
            steps.begun = True
            ended = await self._replacements.end(replaces, steps)
            return replace(result, durable=result.durable and ended)

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
