"""A state machine that runs any verb on sessions in any order, against a model that is a dictionary."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from tests.models.machines import on_each_world, run_machine
from tests.models.session_model import Expected
from tests.spec.stored import assert_sound, index, records
from tollhouse.sessions.outcomes import SessionRefused
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import NUMBER_MAX, DataRefused, DataResult, SessionData
from tollhouse.sessions.verbs.rotator import GRACE_MS

UNIT_MS = 30_000
assert UNIT_MS == GRACE_MS
POLICIES = {
    "default": SessionPolicy(idle_ms=20 * UNIT_MS, absolute_ms=60 * UNIT_MS, cap=3),
    "short": SessionPolicy(idle_ms=4 * UNIT_MS, absolute_ms=10 * UNIT_MS, cap=3, at_cap="refuse", renew_ms=2 * UNIT_MS),
}
NAMES = st.sampled_from("ab")
USERS = st.sampled_from(["ada", "eve"])


class SessionsAgainstModel(RuleBasedStateMachine):
    """Runs rules in a world from `open_world`, and compares each result with the model."""

    sessions_made = Bundle("sessions_made")
    dead = Bundle("dead")

    def __init__(self, open_world):
        super().__init__()
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.world = self.do(self.exits.enter_async_context(open_world()))
        self.sessions = Sessions(self.world.stores.sessions, self.world.keyring, self.world.metrics, POLICIES)
        self.expected = {}
        self.disabled = set()
        self.stepped_back = False

    def do(self, coroutine):
        return self.runner.run(coroutine)

    def verified(self, each):
        """Verify, and let the touch that follows be written; what the store holds is compared after each step."""
        session = self.do(self.sessions.verify(each.token))
        self.do(self.sessions.aclose())
        return session

    def alive(self, user):
        return [each for each in self.expected.values() if each.first.user == user and self.is_alive(each)]

    def is_alive(self, each):
        return each.alive(self.world.now_ms)

    @rule(target=sessions_made, user=USERS, policy=st.sampled_from(sorted(POLICIES)))
    def create(self, user, policy):
        issued = self.do(self.sessions.create(user, policy=policy))
        assert (issued == SessionRefused(reason="disabled")) == (user in self.disabled)
        if user in self.disabled:
            return multiple()
        if isinstance(issued, SessionRefused):
            assert POLICIES[policy].at_cap == "refuse"
            assert len(self.alive(user)) >= POLICIES[policy].cap
            return multiple()
        new = Expected(issued, POLICIES[policy])
        left = {session.sid for session in self.do(self.sessions.list(user))}
        assert new.first.sid in left
        assert len(left) <= POLICIES[policy].cap
        for each in self.alive(user):
            each.ended = each.ended or each.first.sid not in left
        self.expected[new.first.sid] = new
        return new

    @rule(each=sessions_made)
    def verify(self, each):
        session = self.verified(each)
        assert (session is not None) == self.is_alive(each)
        if session is None:
            each.ended = True
            return
        assert session.renewal_due == each.renewal_due(self.world.now_ms)
        each.touch(self.world.now_ms)
        each.present(self.world.now_ms)
        assert session.expires_at == each.last_end_ms
        assert session.created_at == each.first.created_at
        assert session.last_seen_at == each.seen_ms
        assert session.idle_expires_at == each.end_ms

    @rule(each=sessions_made)
    def verify_passively(self, each):
        session = self.do(self.sessions.verify(each.token, passive=True))
        self.do(self.sessions.aclose())
        assert (session is not None) == self.is_alive(each)
        if session is None:
            each.ended = True
            return
        each.present(self.world.now_ms)
        assert session.last_seen_at == each.seen_ms
        assert session.idle_expires_at == each.end_ms

    @rule(each=sessions_made)
    def rotate(self, each):
        issued = self.do(self.sessions.rotate(each.token))
        assert (issued is not None) == self.is_alive(each)
        if issued is None:
            return
        assert issued.token != each.token
        each.rotate(issued.token, self.world.now_ms)
        each.touch(self.world.now_ms)

    @rule(each=sessions_made)
    def step_up(self, each):
        stepped = self.do(self.sessions.step_up(each.token))
        assert bool(stepped) == self.is_alive(each)
        if not stepped:
            return
        each.rotate(stepped.token, self.world.now_ms)
        each.step_up(self.world.now_ms)

    @rule(each=sessions_made)
    def renew(self, each):
        issued = self.do(self.sessions.renew(each.token))
        assert (issued is not None) == self.is_alive(each)
        if issued is None:
            return
        assert (issued.token != each.token) == each.renewal_due(self.world.now_ms)
        if issued.token != each.token:
            each.renew(issued.token)
        each.touch(self.world.now_ms)

    @rule(each=sessions_made)
    def verify_the_former_token(self, each):
        if each.former is None:
            return
        lives, in_time = self.is_alive(each), each.in_grace(self.world.now_ms)
        session = self.do(self.sessions.verify(each.former))
        self.do(self.sessions.aclose())
        assert (session is not None) == (lives and in_time)
        if session is None:
            each.ended = True
            return
        assert session.renewal_due
        assert self.do(self.sessions.renew(each.former)).token == each.token
        each.touch(self.world.now_ms)

    @rule(each=sessions_made, changes=st.dictionaries(NAMES, st.none() | st.integers(-9, 9), min_size=1))
    def patch(self, each, changes):
        result = self.do(self.sessions.patch(each.token, changes))
        if not self.is_alive(each):
            assert result == DataRefused(reason="over")
            return
        each.version += 1
        assert result == DataResult(version=each.version)
        each.data = {name: value for name, value in (each.data | changes).items() if value is not None}

    @rule(each=sessions_made, changes=st.dictionaries(NAMES, st.integers(), min_size=1), behind=st.integers(0, 1))
    def patch_a_version(self, each, changes, behind):
        if not self.is_alive(each) or each.version <= behind:
            return
        result = self.do(self.sessions.patch(each.token, changes, version=each.version - behind))
        if behind:
            assert result == DataRefused(reason="version", version=each.version)
            return
        each.version += 1
        each.data |= changes

    @rule(each=sessions_made, name=NAMES)
    def take(self, each, name):
        result = self.do(self.sessions.take(each.token, name))
        if not self.is_alive(each):
            assert result == DataRefused(reason="over")
            return
        each.version += name in each.data
        assert result == DataResult(version=each.version, value=each.data.pop(name, None))

    @rule(each=sessions_made, name=NAMES)
    def increment(self, each, name):
        result = self.do(self.sessions.increment(each.token, name))
        if not self.is_alive(each):
            assert result == DataRefused(reason="over")
            return
        old = each.data.get(name, 0)
        if max(abs(old), abs(old + 1)) >= NUMBER_MAX:
            assert result == DataRefused(reason="not-a-number", version=each.version)
            return
        each.data[name] = old + 1
        each.version += 1
        assert result == DataResult(version=each.version, value=each.data[name])

    @rule(each=sessions_made)
    def data(self, each):
        expected = SessionData(values=each.data, version=each.version) if self.is_alive(each) else None
        assert self.do(self.sessions.data(each.token)) == expected

    @rule(target=dead, each=consumes(sessions_made), user=USERS)
    def revoke(self, each, user):
        owner, lives = each.first.user, self.is_alive(each)
        if user != owner:
            assert not self.do(self.sessions.revoke(user, each.first.sid)).found
        found = self.do(self.sessions.revoke(owner, each.first.sid)).found
        assert found or not lives
        each.ended = True
        return each

    @rule(each=dead)
    def verify_the_dead(self, each):
        assert self.verified(each) is None

    @rule(kept=sessions_made)
    def revoke_others(self, kept):
        user, lives = kept.first.user, self.is_alive(kept)
        self.do(self.sessions.revoke_all(user, keep=kept.first))
        for each in self.expected.values():
            each.ended = each.ended or (each.first.user == user and not (each is kept and lives))

    @rule(user=USERS)
    def revoke_all(self, user):
        self.do(self.sessions.revoke_all(user))
        for each in self.expected.values():
            each.ended = each.ended or each.first.user == user

    @rule(user=USERS)
    def disable(self, user):
        self.do(self.sessions.disable(user))
        self.disabled.add(user)
        for each in self.expected.values():
            each.ended = each.ended or each.first.user == user

    @rule(user=USERS)
    def enable(self, user):
        self.do(self.sessions.enable(user))
        self.disabled.discard(user)

    @rule(units=st.integers(1, 25))
    def advance(self, units):
        self.do(self.world.advance(units * UNIT_MS))
        for each in self.expected.values():
            each.advance(units * UNIT_MS)

    @rule(units=st.integers(1, 8))
    def step_back(self, units):
        self.stepped_back = True
        self.world.step_back(units * UNIT_MS)

    @invariant()
    def lists_show_what_lives(self):
        for user in ("ada", "eve"):
            listed = {session.sid for session in self.do(self.sessions.list(user))}
            assert listed == {each.first.sid for each in self.alive(user)}

    @invariant()
    def the_store_is_sound(self):
        live = {record.sid for record in self.do(records(self.world))}
        assert not live & {sid for sid, each in self.expected.items() if each.ended}
        if not self.stepped_back:
            self.do(assert_sound(self.world))
        else:
            assert live <= {sid for _, sid in self.do(index(self.world))}

    def teardown(self):
        self.do(self.exits.aclose())
        self.runner.close()


@on_each_world
def test_sessions_agree_with_their_model(valkey_socket, kind):
    """P4: in any order of calls a dead session never loads, and an absolute end never moves."""
    run_machine(SessionsAgainstModel, kind, valkey_socket)
