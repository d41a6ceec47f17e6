"""The scripts of the store and their twin in the process decide alike, whatever happens in whatever order."""

from __future__ import annotations

import random

import pytest

from tests.models.machines import on_each_world
from tests.spec.stored import keys_of
from tests.worlds import embedded_world, fake_world
from tollhouse.accounts.throttling.charges import Charge, Window, rules_of
from tollhouse.accounts.throttling.local_counters import LocalCounters
from tollhouse.accounts.throttling.stored_counters import StoredCounters
from tollhouse.accounts.throttling.windows import WindowRule
from tollhouse.keys import UNNAMED
from tollhouse.settings.throttle import ThrottleSettings

RULES = rules_of(
    ThrottleSettings(free_failures=2, row_max=9, device_failures=3, device_days=2, wait_max_s=60, memory_s=600)
)
STEPS_MS = (0, 0, 0, 0, 1, 999, 1_000, 5_003, 29_989, 61_001, 600_011, 3_600_017, 90_000_029)
OPERATIONS = {"embedded": 3_000, "fake": 1_000}


def charge(draw, now_ms):
    """Return an attempt at one of two accounts, with or without a device, from one of three addresses."""
    name, address = draw.choice(["ada", "eve"]), draw.randrange(3)
    issued_ms = draw.choice([0, now_ms, now_ms - 1, max(now_ms - RULES.device_ms, 1)])
    windows = (
        Window(key=UNNAMED.throttle("address", str(address)), rule=WindowRule(failures=4, window_ms=60_000)),
        Window(key=UNNAMED.throttle("everyone"), rule=WindowRule(failures=12, window_ms=300_000)),
    )
    return Charge(
        account=UNNAMED.throttle("password", name),
        rule=RULES.factors["password"],
        ended=UNNAMED.throttle_ended(name),
        device=UNNAMED.throttle("password-device", f"{name}{draw.randrange(2)}"),
        device_rule=RULES.device,
        issued_ms=issued_ms,
        windows=windows[: draw.randrange(1, 3)],
    )


@on_each_world
async def test_the_store_and_the_process_decide_alike(valkey_socket, kind):
    """Over thousands of attempts, outcomes and pauses, each verdict is the same; no key is without an expiry."""
    draw, under_way = random.Random(7), []
    async with fake_world() if kind == "fake" else embedded_world(valkey_socket) as world:
        stored, local = StoredCounters(world.stores.limits), LocalCounters(clock=lambda: world.now_ms)
        for _ in range(OPERATIONS[kind]):
            if draw.random() < 0.2:
                await world.advance(draw.choice(STEPS_MS))
            asked = charge(draw, world.now_ms)
            verdict = await stored.begin(asked)
            assert verdict == await local.begin(asked)
            if verdict.wait_ms == 0:
                under_way.append((asked, verdict))
            while under_way and draw.random() < 0.3:
                done, right = under_way.pop(draw.randrange(len(under_way))), draw.random() < 0.1
                for counters in (stored, local):
                    await counters.settle(*done, right=right)
        for key in await keys_of(world, "limits"):
            assert await world.command("limits", "PTTL", key) > 0


async def test_the_time_of_the_server_is_used(valkey_socket):
    """Outside of tests the scripts take the clock of the server, `limits/end_trust` too, and so do the verdicts."""
    async with embedded_world(valkey_socket) as world:
        world._now_ms = 0
        stored = StoredCounters(world.stores.limits)
        verdict = await stored.begin(charge(random.Random(1), 1))

        assert verdict.at_ms > 1_700_000_000_000
        assert await stored.end_trust(UNNAMED.throttle_ended("ada"), 1_000) >= verdict.at_ms


@pytest.mark.parametrize("keys_max", [1, 2])
async def test_a_process_keeps_a_bounded_number(keys_max):
    """Beyond it those that failed longest ago are forgotten."""
    local, draw = LocalCounters(clock=lambda: 1_000_000, keys_max=keys_max), random.Random(3)
    for _ in range(50):
        await local.begin(charge(draw, 1_000_000))

    assert max(len(local._failures), len(local._windows)) == keys_max


async def test_an_attempt_that_is_settled_after_its_counts_are_gone_counts_nothing():
    """The store came back meanwhile, or others pushed it out."""
    local, draw = LocalCounters(clock=lambda: 1_000_000), random.Random(3)
    for _ in range(20):
        asked = charge(draw, 1_000_000)
        verdict = await local.begin(asked)
        local.clear()

        await local.settle(asked, verdict, right=False)

    assert len(local._failures) == len(local._windows) == 0


def test_the_clock_of_a_process_is_that_of_the_machine():
    """It counts from the epoch, as the store does."""
    assert LocalCounters()._clock() > 1_700_000_000_000
