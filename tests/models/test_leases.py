"""A machine that holds, renews, releases and crashes in any order, beside a dictionary and an exact log of holders.

The dictionary is what the pure rules make of the same calls, and the store has to hold the same leases. The log knows
nothing of rules or clocks: a holder has a permit from its answer on, for as long as it renews every third of a window
of real time, until it releases it, crashes or is told that it lost it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.leases import leases_on, stored, subject
from tests.models.machines import on_each_world, run_machine
from tollhouse.limits.algorithms import concurrency
from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX

UNITS = 3
WINDOW_MS = 90_000
HEARTBEAT_MS = WINDOW_MS // 3
SOON_MS = 1_000
BACK_MS = st.sampled_from([1, 30_000, 60_000, 60_001, 300_000]) | st.integers(1, 400_000)


class LeasesAgainstModel(RuleBasedStateMachine):
    """Makes one call after another in a world of `open_world`, and compares."""

    def __init__(self, open_world):
        super().__init__()
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.world = self.do(self.exits.enter_async_context(open_world()))
        self.leases = leases_on(self.world.stores.limits, self.world)
        self.subject = subject(self.world, units=UNITS, window_ms=WINDOW_MS)
        self.limit = self.subject.compiled.policy.limits[0]
        self.held = {}
        self.key_ends_ms = 0
        self.real_ms = 0
        self.holders = {}
        self.crashed = []  # in order, as the holders are: their names are random, and a run has to repeat itself

    def do(self, coroutine):
        return self.runner.run(coroutine)

    def keep_key(self, ttl_ms, *, anew=False):
        self.key_ends_ms = self.real_ms + ttl_ms if anew else max(self.key_ends_ms, self.real_ms + ttl_ms)

    @rule()
    def lease(self):
        lease = self.do(self.leases.lease(self.subject))
        now_ms = self.world.now_ms
        if all(end_ms <= now_ms for end_ms in self.held.values()):
            self.key_ends_ms = 0  # a sorted set without members is no key
        verdict, self.held = concurrency.lease(self.limit, self.held, lease.id or "refused", now_ms)
        assert lease.decision.allowed is verdict.allowed is (lease.id is not None)
        assert lease.decision.retry_after_ms == verdict.retry_after_ms
        [state] = lease.decision.limits
        assert (state.remaining, state.reset_after_ms) == (verdict.remaining, verdict.reset_after_ms)
        if lease.id is not None:
            self.holders[lease.id] = self.real_ms
            self.keep_key(WINDOW_MS)
        if verdict.too_far_ahead:
            self.held = concurrency.clamp(self.limit, self.held, now_ms)
            self.keep_key(WINDOW_MS + AHEAD_MS_MAX, anew=True)

    @rule()
    def peek(self):
        decision = self.do(self.leases.peek(self.subject))
        verdict = concurrency.peek(self.limit, self.held, self.world.now_ms)
        assert (decision.allowed, decision.retry_after_ms) == (verdict.allowed, verdict.retry_after_ms)
        [state] = decision.limits
        assert (state.remaining, state.reset_after_ms) == (verdict.remaining, verdict.reset_after_ms)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def renew(self, data):
        self.beat(data.draw(st.sampled_from(list(self.holders))))

    def beat(self, holder):
        renewed, self.held = concurrency.renew(self.limit, self.held, holder, self.world.now_ms)
        assert self.do(self.leases.renew(self.subject, holder)) is renewed
        assert renewed, "a holder that renews in time never loses its permit"
        self.holders[holder] = self.real_ms
        self.keep_key(WINDOW_MS)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def release(self, data):
        holder = data.draw(st.sampled_from(list(self.holders)))
        del self.holders[holder]
        released, self.held = concurrency.release(self.held, holder, self.world.now_ms)
        assert released
        assert self.do(self.leases.release(self.subject, holder))
        self.key_ends_ms = self.key_ends_ms if self.held else 0

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def crash(self, data):
        holder = data.draw(st.sampled_from(list(self.holders)))
        del self.holders[holder]
        self.crashed.append(holder)

    @precondition(lambda self: self.crashed)
    @rule(data=st.data(), release=st.booleans())
    def come_back_too_late(self, data, release):
        """A holder that was away tries what it would have done; another holder may have its permit by now."""
        holder = data.draw(st.sampled_from(self.crashed))
        now_ms = self.world.now_ms
        if release:
            expected, self.held = concurrency.release(self.held, holder, now_ms)
            found = self.do(self.leases.release(self.subject, holder))
            self.key_ends_ms = self.key_ends_ms if self.held else 0
        else:
            expected, self.held = concurrency.renew(self.limit, self.held, holder, now_ms)
            found = self.do(self.leases.renew(self.subject, holder))
        assert found is expected
        self.crashed.remove(holder)
        if found and not release:
            self.holders[holder] = self.real_ms
            self.keep_key(WINDOW_MS)

    @rule(ms=st.sampled_from([1, HEARTBEAT_MS, WINDOW_MS, 2 * WINDOW_MS]) | st.integers(1, 3 * WINDOW_MS))
    def advance(self, ms):
        while ms > 0:
            step_ms = min(ms, HEARTBEAT_MS)
            self.do(self.world.advance(step_ms))
            self.real_ms += step_ms
            ms -= step_ms
            for holder, renewed_ms in list(self.holders.items()):
                if self.real_ms - renewed_ms >= HEARTBEAT_MS:
                    self.beat(holder)
            self.end_what_is_near_its_end()

    def end_what_is_near_its_end(self):
        """Drop a key that expired, or that real time could expire before the next call: its leases get no renewal."""
        if self.key_ends_ms - self.real_ms < SOON_MS:
            self.do(self.world.command("limits", "DEL", self.subject.state_key))
            self.held = {}

    @rule(ms=BACK_MS)
    def step_back(self, ms):
        self.world.step_back(ms)

    @rule()
    def all_crash(self):
        """Never stuck: a window and a minute after a lease was requested, every permit is free again."""
        self.crashed += self.holders
        self.holders.clear()
        self.lease()
        self.crashed += self.holders
        self.holders.clear()
        self.advance(WINDOW_MS + AHEAD_MS_MAX)
        assert self.do(self.leases.peek(self.subject)).limits[0].remaining == UNITS

    @invariant()
    def no_more_permits_are_held_than_there_are(self):
        live = [holder for holder, ms in self.holders.items() if self.real_ms - ms < WINDOW_MS]
        assert len(live) == len(self.holders) <= UNITS

    @invariant()
    def the_store_holds_what_the_rules_say(self):
        assert self.do(stored(self.world, self.subject)) == dict(self.held)
        if self.held:
            left_ms = self.do(self.world.command("limits", "PTTL", self.subject.state_key))
            expected_ms = self.key_ends_ms - self.real_ms
            assert expected_ms - self.world.real_elapsed_ms - 1 <= left_ms <= expected_ms

    def teardown(self):
        self.do(self.exits.aclose())
        self.runner.close()


@on_each_world
def test_leases_agree_with_their_model(valkey_socket, kind):
    """P1: in any order of calls, crashes and steps of the clock no more permits are held than there are, none stuck."""
    run_machine(LeasesAgainstModel, kind, valkey_socket)
