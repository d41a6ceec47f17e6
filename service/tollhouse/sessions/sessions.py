"""Sessions: who is calling, from a login until it ends by time, by its user or by the operator.

Whatever ends a session ends it for good: the only script that lets a record begin is the one that
creates, and all others begin by reading it. Each verb is one script call; an outage of the store
reaches the caller as StoreUnavailable and never looks like an unknown session.

What ended is also kept in the journal (see revocation_log.py): it is repeated on a new primary, and refused here
whatever a server says. `repeat`, `heard` and `missed` are for the store to call, which wiring sees to.

After the deployment's secret was rotated, sessions made under an older one go on until it is dropped:
`revoke_all`, `revoke` and `list` look under every secret. The cap counts under the newest alone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument
from tollhouse.sessions import tokens
from tollhouse.sessions import user_keys as homes
from tollhouse.sessions.policies import CAP_MAX, POLICIES, Policies, Policy, find
from tollhouse.sessions.records import Session, created, listed, verified
from tollhouse.sessions.revocation_log import Journal
from tollhouse.sessions.revocations import Call, Ended, EndedAll, Revocation, announced
from tollhouse.sessions.tokens import RandomBytes, Token
from tollhouse.sessions.user_keys import Home
from tollhouse.sessions.validation import valid_device, valid_user

_MEMBERS_PER_RUN: Final = 500
_REPEATED_AT_ONCE: Final = 500

_VERIFY_OUTCOMES: Final = {0: "unknown", 1: "ok", 2: "wrong-secret", 3: "expired", 4: "revoked"}


Run = Callable[[str, Sequence[str], Sequence[Argument]], Awaitable[list[Any]]]
"""Runs a script on one certain connection."""


class Store(Protocol):
    """What sessions need of a store."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and give its reply."""
        ...

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script, and tell whether what it wrote outlives a failover."""
        ...


class Issued(Struct, frozen=True, kw_only=True):
    """A fresh session with the token that opens it; `durable` tells whether it outlives a failover."""

    session: Session
    token: Token
    durable: bool


class SessionRefused(Struct, frozen=True, kw_only=True):
    """No session was made: the user is disabled, or has as many as the policy allows."""

    reason: Literal["disabled", "at-cap"]


_REFUSALS: Final = {2: SessionRefused(reason="disabled"), 3: SessionRefused(reason="at-cap")}


class Revoked(Struct, frozen=True, kw_only=True):
    """The session is over; `found` tells whether it was there, and this user's, until now."""

    found: bool
    durable: bool


class RevokedAll(Struct, frozen=True, kw_only=True):
    """All sessions that began before are over; `removed` counts those that the index still named."""

    removed: int
    durable: bool


class Sessions:
    """Creates, verifies, lists and ends sessions; needs a keyring with a secret."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        metrics: Metrics,
        policies: Policies = POLICIES,
        *,
        journal: Journal | None = None,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        if not keyring.keyed:
            remedy = "set it to at least 32 random bytes; sessions do not open without a secret"
            raise ConfigurationError("TOLLHOUSE_SECRET", None, remedy)
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._policies = policies
        self._journal = Journal() if journal is None else journal
        self._primaries = 0
        self._random_bytes = random_bytes

    def check(self, user: str, *, policy: str = "default", device: str | None = None) -> tuple[str, Policy, str]:
        """Give the user, policy and device as `create` takes them; raises InvalidInput where it would."""
        return valid_user(user), find(self._policies, policy), valid_device(device or "")

    async def create(self, user: str, *, policy: str = "default", device: str | None = None) -> Issued | SessionRefused:
        """Begin a session under a fresh token; at the policy's cap, end the user's oldest or refuse."""
        user, rules, label = self.check(user, policy=policy, device=device)
        home = homes.of_user(self._keyring, user)[0]
        token = tokens.issue(self._keyring, home.tag, self._random_bytes)
        verifier = tokens.verifier(self._keyring, token)
        assert verifier is not None, "the token was made under a secret that the keyring lacks"
        times = (rules.idle_ms, rules.absolute_ms)
        at_cap = (rules.cap, int(rules.at_cap == "evict-oldest"))

        reply, durable = await self._store.run_durably(
            "sessions/create",
            (home.record(token.sid), home.index, home.epoch, home.everyone, home.events),
            (token.sid, verifier, user, home.digest, *times, *at_cap, policy, label, home.record()),
        )

        refusal = _REFUSALS.get(reply[0])
        self._metrics.session("create", "ok" if refusal is None else refusal.reason)
        if refusal is not None:
            return refusal
        return Issued(session=created(token.sid, user, policy, label, reply), token=token, durable=durable)

    async def verify(self, token: Token | str) -> Session | None:
        """Give the session that a token opens, and note that it was used; None where it opens none."""
        parsed = token if isinstance(token, Token) else tokens.parse(token)
        verifier = None if parsed is None else tokens.verifier(self._keyring, parsed)
        if parsed is None or verifier is None:
            self._metrics.session("verify", "malformed")
            return None
        home, sid = Home(tag=parsed.tag), parsed.sid
        if self._journal.ended(sid):
            self._metrics.session("verify", "revoked")
            return None

        reply = await self._store.run(
            "sessions/verify",
            (home.record(sid), home.everyone, home.events),
            (sid, verifier, home.index, home.epoch),
        )

        outcome = _VERIFY_OUTCOMES[reply[0]]
        session = self._let_in(sid, reply) if outcome == "ok" else None
        self._metrics.session("verify", "revoked" if outcome == "ok" and session is None else outcome)
        return session

    async def revoke(self, user: str, sid: str) -> Revoked:
        """End one session of a user; that of anybody else is left alone, as if it did not exist."""
        user = valid_user(user)
        found, durable = False, True
        # What is no sid may be any text at all, and no such text goes into the name of a key.
        for home in homes.of_user(self._keyring, user) if tokens.is_sid(sid) else ():
            ended, primaries = Ended(user=user, digest=home.digest, sid=sid), self._primaries
            reply, kept = await self._store.run_durably(*ended.call())
            found, durable = found or reply[0] == 1, durable and kept
            if reply[0] == 1:
                await self._remember(ended, primaries)
        self._metrics.session("revoke", "ok" if found else "unknown")
        return Revoked(found=found, durable=durable)

    async def revoke_all(self, user: str, *, keep: Session | None = None) -> RevokedAll:
        """End every session of a user that began before this call, but `keep`; later logins live."""
        user = valid_user(user)
        call, kept_sid = tokens.new_sid(self._random_bytes), "" if keep is None else keep.sid
        removed, durable = 0, True
        for home in homes.of_user(self._keyring, user):
            ended, kept = await self._revoke_at(EndedAll(user=user, digest=home.digest, name=call, keep=kept_sid))
            removed, durable = removed + ended, durable and kept
        self._metrics.session("revoke_all", "ok")
        return RevokedAll(removed=removed, durable=durable)

    async def list(self, user: str) -> tuple[Session, ...]:
        """Give the live sessions of a user, the newest first."""
        user = valid_user(user)
        found: list[Session] = []
        for home in homes.of_user(self._keyring, user):
            names = (home.index, home.epoch, home.everyone)
            reply = await self._store.run("sessions/list", names, (home.record(), CAP_MAX))
            found.extend(listed(user, reply))
        self._metrics.session("list", "ok")
        return tuple(sorted(found, key=lambda session: (-session.created_at, session.sid)))

    async def repeat(self, run: Run) -> None:
        """Repeat on a new primary what ended lately; to be called before any other call there."""
        self._primaries += 1
        calls = [_again(revocation) for revocation in self._journal.recent()]
        for first in range(0, len(calls), _REPEATED_AT_ONCE):
            await asyncio.gather(*(run(*call) for call in calls[first : first + _REPEATED_AT_ONCE]))

    def heard(self, payload: bytes) -> None:
        """Take an announcement, of this process or another."""
        revocation = announced(payload)
        if revocation is None:
            self._metrics.discarded_state("announcement")
        else:
            self._note(revocation)

    def missed(self) -> None:
        """Note that announcements may have been missed: nothing can be asked again."""
        self._metrics.session("hear", "missed")

    def _let_in(self, sid: str, reply: Sequence[Any]) -> Session | None:
        """Give the session that the store let in, unless this process knows that it is over."""
        session, began_ms = verified(sid, reply)
        if self._journal.empty:
            return session
        digests = (home.digest for home in homes.of_user(self._keyring, session.user))
        return None if self._journal.outlived(digests, sid, began_ms, session.created_at) else session

    def _note(self, revocation: Revocation) -> None:
        if not self._journal.note(revocation):
            self._metrics.discarded_state("revocation")

    async def _remember(self, revocation: Revocation, primaries: int) -> None:
        """Keep for a new primary what was done; one that came while it was done was not told, and is told now."""
        self._note(revocation)
        if self._primaries != primaries:
            await self._store.run(*_again(revocation))

    async def _revoke_at(self, ending: EndedAll) -> tuple[int, bool]:
        """End what a user has in one home, a bounded part per run; the first run ends it in effect."""
        removed, alive, durable = 0, 0, True
        looked_at = _MEMBERS_PER_RUN
        while looked_at == _MEMBERS_PER_RUN:
            primaries = self._primaries
            reply, kept = await self._store.run_durably(*ending.call(skip=alive, part=_MEMBERS_PER_RUN))
            looked_at, ended, epoch_ms = reply
            removed, alive, durable = removed + ended, alive + looked_at - ended, durable and kept
            await self._remember(replace(ending, epoch_ms=epoch_ms), primaries)
        return removed, durable


def _again(revocation: Revocation) -> Call:
    """Give the call that repeats a revocation, over all sessions that a user may have."""
    if isinstance(revocation, EndedAll):
        return revocation.call(skip=0, part=CAP_MAX)
    return revocation.call()
