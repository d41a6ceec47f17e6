"""A machine of several processes that take from one key with quota leases, beside an exact log of admissions.

A take that the store decided is admitted at the time of the server when its script ran; while the server's clock is
behind an earlier reading, at that. A leased take is admitted at the time that its process reckons: when the lease was
charged, and what its own clock has moved since. So a step forwards, of which a process cannot know, ends no lease.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.watched import Setup, ticks
from tests.worlds import fake_world
from tollhouse.errors import StoreUnavailable
from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.metrics import Metrics

PROCESSES = 3
SHORT = Limit(units=1_500, window_ms=60_000, resolution=120)
LONG = Limit(units=3_500, window_ms=183_000, resolution=50)
POLICIES = (
    Policy(name="api", limits=(SHORT,), lease="auto", on_outage="closed"),
    Policy(name="api", limits=(SHORT, LONG), lease="auto", on_outage="closed"),
)
WHAT = st.sampled_from(["crash", "close", "close", "reload", "reload", "step", "step", "reset"])
WHICH = st.integers(0, PROCESSES - 1)
FEW = st.integers(0, 5)
STEPS_MS = st.integers(-2_000, 2_000) | st.integers(-30_000, 200_000)
COSTS = st.sampled_from([1, 1, 3, 20, 40])


class Line:
    """The way of one process to the store: it notes when leases are charged, and holds replies back."""

    def __init__(self, machine) -> None:
        self.machine = machine
        self.charged = (0, 0)  # when the last lease was charged, and the clock of the server less that of the processes
        self.is_down = False
        self.running = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, script, keys, args, *, waited_ms=0):
        if self.is_down:
            raise StoreUnavailable("limits", "ambiguous", "it is down")
        self.running += 1
        self.idle.clear()
        try:
            await self.machine.stop_real_time(keys[0])
            reply = await self.machine.world.stores.limits.run(script, keys, args)
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()
        if script == "limits/lease_quota" and reply[3]:
            self.machine.newest_ms = self.machine.believed_ms()
            self.charged = (self.machine.newest_ms, self.machine.world.now_ms - self.machine.passed_ms)
        await self.open.wait()
        if self.is_down:
            raise StoreUnavailable("limits", "ambiguous", "it is down")
        return reply


class LeasesAgainstLog(RuleBasedStateMachine):
    """Makes one call after another in a world of `open_world`, and keeps the log."""

    def __init__(self, open_world):
        super().__init__()
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.world = self.do(self.exits.enter_async_context(open_world()))
        self.world.metrics = Metrics()
        self.passed_ms = 0
        self.newest_ms = 0
        self.seen_ms = 0.0
        self.log = []  # [the server's time, cost, passed_ms, process, decision]
        self.policy = POLICIES[0]
        self.processes = []
        self.is_exact = True  # nothing was lost so far, and the clock of the server made no step

    def do(self, coroutine):
        return self.runner.run(coroutine)

    async def stop_real_time(self, state_key):
        """Return to a value the life that real time took: a second of it, on a busy machine, would end counts early."""
        real_ms = self.world.real_elapsed_ms
        passed_ms, self.seen_ms = math.ceil(real_ms - self.seen_ms), real_ms
        left_ms = await self.world.command("limits", "PTTL", state_key)
        if left_ms > 0:
            await self.world.command("limits", "PEXPIRE", state_key, left_ms + passed_ms)

    @initialize(policy=st.sampled_from(POLICIES))
    def open_all(self, policy):
        self.policy = policy
        self.processes = [self.opened() for _ in range(PROCESSES)]

    def opened(self):
        line = Line(self)
        process = self.do(self.open(line))
        process.clock.now_ms = self.passed_ms
        process.line = line
        return process

    async def open(self, line):
        return Setup(self.world, self.policy, store=line, refusals_max=10)

    def believed_ms(self):
        """The server's time as scripts count by it: after a step back it stands still at the newest charge."""
        return max(self.newest_ms, self.world.now_ms)

    def admit(self, process, decision, at_ms):
        if not decision.allowed:
            return
        if decision.leased:
            charged_ms, offset_ms = process.line.charged
            at_ms = max(charged_ms, offset_ms + self.passed_ms)  # as if the server's clock had made no step since
            self.assert_charged_where_it_is_used(charged_ms, at_ms)
        else:
            self.newest_ms = max(self.newest_ms, at_ms)
        self.log.append([at_ms, decision.cost, self.passed_ms, process, decision])

    def assert_charged_where_it_is_used(self, charged_ms, at_ms):
        for limit in self.policy.limits:
            index, charged = (ms * limit.resolution // limit.window_ms for ms in (at_ms, charged_ms))
            assert index == charged

    def take_one_by_one(self, process, many, cost):
        for _ in range(many):
            decision = self.do(process.limits.take("api", "ada", cost))
            self.admit(process, decision, self.believed_ms())
        self.do(ticks(3))

    @rule(which=WHICH, many=st.integers(1, 30), cost=COSTS)
    def take(self, which, many, cost):
        self.take_one_by_one(self.processes[which], many, cost)

    @rule(which=WHICH, many=st.integers(5, 20), cost=COSTS, past_ms=st.integers(-4, 15), more=st.integers(1, 10))
    def take_before_and_after_a_sub_bucket_ends(self, which, many, cost, past_ms, more):
        process = self.processes[which]
        self.take_one_by_one(process, many, cost)
        index = self.world.now_ms * SHORT.resolution // SHORT.window_ms
        self.advance(max((index + 1) * SHORT.window_ms // SHORT.resolution + past_ms - self.world.now_ms, 1))
        self.take_one_by_one(process, more, cost)

    @rule(which=WHICH, many=st.integers(1, 30), late_ms=st.sampled_from([1, 490, 600, 1_000, 61_000]), more=FEW)
    def take_with_late_replies(self, which, many, late_ms, more):
        """The scripts run at once, and the replies come late."""
        process, at_ms = self.processes[which], self.believed_ms()
        process.line.open.clear()
        tasks = self.do(self.begin(process, many))
        early = [task for task in tasks if task.done()]
        for task in early:
            self.admit(process, task.result(), at_ms)
        self.advance(late_ms)
        process.line.open.set()
        self.do(asyncio.wait(tasks))
        for task in tasks:
            if task not in early:
                assert not task.result().leased
                self.admit(process, task.result(), at_ms)
        self.take_one_by_one(process, more, 1)

    async def begin(self, process, many):
        tasks = [asyncio.create_task(process.limits.take("api", "ada")) for _ in range(many)]
        await ticks(30)
        await process.line.idle.wait()
        return tasks

    @rule(ms=st.integers(1, 1_100) | st.sampled_from([3_660, 30_000, 59_999, 60_500]))
    def advance(self, ms):
        self.passed_ms += ms
        self.do(self.world.advance(ms))
        for process in self.processes:
            process.clock.advance(ms)
        self.do(ticks(10))

    @precondition(lambda self: self.log)
    @rule(data=st.data(), states_age=st.booleans())
    def undo(self, data, states_age):
        entry = data.draw(st.sampled_from(self.log))
        _, _, then_ms, process, decision = entry
        age_ms = self.passed_ms - then_ms
        if process not in self.processes or age_ms >= min(limit.window_ms for limit in self.policy.limits):
            return
        self.log.remove(entry)
        self.do(process.limits.undo(decision, age_ms=age_ms if states_age else 0))
        self.is_exact = False  # the oldest units come back first: those that stay count longer than they were taken

    @rule(which=WHICH, many=st.integers(1, 10), moves_ms=st.sampled_from([0, 2, 30, 1_100]))
    def take_while_the_store_is_down(self, which, many, moves_ms):
        process = self.processes[which]
        process.line.is_down = True
        for _ in range(2):
            for _ in range(many):
                self.admit(process, self.do(process.limits.take("api", "ada")), 0)
            self.advance(max(moves_ms, 1))
        process.line.is_down = False
        self.is_exact = False

    @rule(
        which=WHICH,
        what=WHAT,
        ms=STEPS_MS,
    )
    def disturb(self, which, what, ms):
        match what:
            case "crash":
                self.processes[which] = self.opened()
                self.is_exact = False
            case "close":
                self.do(self.processes[which].limits.aclose())
                self.processes[which] = self.opened()
            case "reload":
                self.do(self.reload(self.processes[which]))
            case "step":
                self.step(ms)
            case _:
                self.reset(self.processes[which])

    async def reload(self, process):
        process.limits.replace_policies({"api": self.policy})
        await ticks(10)

    def step(self, ms):
        """The clock of the server steps, forwards or back, but not so far back that the counters are not believed."""
        if ms > 0:
            self.do(self.world.advance(ms))
        elif self.believed_ms() - self.world.now_ms - ms < AHEAD_MS_MAX // 2:
            self.world.step_back(-ms)
        self.is_exact = False

    def reset(self, process):
        self.do(process.limits.reset("api", "ada"))
        state_key = process.limits._requests.read_subject("api", "ada").state_key
        for one in self.processes:
            one.limits.on_cleared(f"-{self.world.now_ms} {state_key}".encode())
        self.log.clear()
        self.newest_ms = 0
        self.is_exact = False

    @invariant()
    def no_trailing_window_admits_more_than_the_limit(self):
        for limit in self.policy.limits:
            for end_ms in {entry[0] for entry in self.log}:
                assert sum(one[1] for one in self.log if end_ms - limit.window_ms < one[0] <= end_ms) <= limit.units

    def teardown(self):
        if self.is_exact:
            for process in self.processes:
                self.do(process.limits.aclose())
            self.all_that_was_not_admitted_is_left()
        self.do(self.exits.aclose())
        self.runner.close()

    def all_that_was_not_admitted_is_left(self):
        """Units are conserved: once all leases are given back, the store counts what was admitted, and no more."""
        limits = self.do(self.opened().limits.peek("api", "ada", 0)).limits
        for limit, state in zip(self.policy.limits, limits, strict=True):
            index = self.world.now_ms * limit.resolution // limit.window_ms
            counts = [
                one for one in self.log if one[0] * limit.resolution // limit.window_ms >= index - limit.resolution
            ]
            assert state.remaining == limit.units - sum(one[1] for one in counts)


def test_leases_admit_no_more_than_the_limit():
    """P1: whatever is late, lost, crashes or steps, all processes together admit no more than the limit allows.

    On fakeredis, whose replies come in one order; script and twin agree elsewhere. A history is not made shorter: that
    takes minutes.
    """
    chosen = settings(
        max_examples=settings.default.max_examples // 8,
        stateful_step_count=30,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    run_state_machine_as_test(lambda: LeasesAgainstLog(fake_world), settings=chosen)
