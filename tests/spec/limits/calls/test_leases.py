"""Leases on a store: the scripts limits/lease, limits/renew, limits/release, peek_leases and clamp_leases."""

from __future__ import annotations

import re

import pytest

from tests.leases import WINDOW_MS, counted, leases_on, stored, subject, under
from tests.worlds import World
from tollhouse.clock import server_time
from tollhouse.errors import InvalidInput
from tollhouse.limits.calls.leases import Leases
from tollhouse.limits.calls.waiting import WAIT_MS_MAX
from tollhouse.limits.decision import Decision, LimitState
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.wire.request import TakeRequest

HEARTBEAT_MS = WINDOW_MS // 3


@pytest.fixture
def leases(world: World) -> Leases:
    return leases_on(world.stores.limits, world)


def discarded(world: World, kind: str) -> float:
    return world.metrics.registry.get_sample_value("tollhouse_state_discarded_total", {"kind": kind}) or 0


async def hold_all(leases: Leases, of: TakeRequest) -> list[str]:
    given = [await leases.lease(of) for _ in range(of.compiled.policy.limits[0].units)]
    return [lease.id for lease in given if lease.id is not None]


async def outlive(world: World, of: TakeRequest) -> None:
    """Keep the key while its leases expire, so that their own ends decide."""
    await world.command("limits", "PEXPIRE", of.state_key, 10 * WINDOW_MS)


async def test_a_lease_is_answered_with_a_decision(world: World, leases: Leases) -> None:
    """A lease has an id that cannot be guessed; the decision states how many permits are left and until when."""
    ada = subject(world)

    first, second = await leases.lease(ada), await leases.lease(ada)

    assert first.decision == Decision(
        allowed=True,
        policy="jobs",
        key="ada",
        cost=1,
        limits=(LimitState(limit=2, window_ms=60_000, remaining=1, reset_after_ms=60_000),),
        retry_after_ms=None,
        refused_by=None,
    )
    assert second.decision.limits[0].remaining == 0
    assert re.fullmatch("[0-9a-f]{32}", first.id or "")
    assert first.id != second.id
    assert not first.is_lost
    assert counted(world, "allowed") == 2


async def test_no_more_permits_are_held_than_there_are(world: World, leases: Leases) -> None:
    """P1: while all permits are held, a lease is refused, with the time after which one is free."""
    ada = subject(world)
    await leases.lease(ada)
    await world.advance(1_000)
    await leases.lease(ada)

    refused = await leases.lease(ada)

    assert (refused.id, refused.decision.allowed) == (None, False)
    assert (refused.decision.refused_by, refused.decision.reason) == ("2/minute", "limit-reached")
    assert refused.decision.retry_after_ms == 59_000
    assert refused.decision.limits[0].reset_after_ms == 60_000
    assert counted(world, "refused") == 1
    assert (await leases.lease(subject(world, "bob"))).decision.allowed


async def test_a_refusal_writes_nothing(world: World, leases: Leases) -> None:
    """P2: a refused lease leaves the stored leases and their time to live as they were."""
    ada = subject(world)
    await hold_all(leases, ada)
    await world.command("limits", "PERSIST", ada.state_key)
    before = await stored(world, ada)

    await leases.lease(ada)

    assert await stored(world, ada) == before
    assert await world.command("limits", "PTTL", ada.state_key) == -1


async def test_a_permit_of_a_crashed_holder_returns_by_itself(world: World, leases: Leases) -> None:
    """P3: a lease without renewal expires after the window, and its permit is free at that moment, not earlier."""
    ada = subject(world, units=1)
    await hold_all(leases, ada)
    retry_after_ms = (await leases.lease(ada)).decision.retry_after_ms
    assert retry_after_ms == WINDOW_MS
    await outlive(world, ada)

    await world.advance(retry_after_ms - 1)
    early = await leases.lease(ada)
    await world.advance(1)
    then = await leases.lease(ada)

    assert (early.decision.allowed, early.decision.retry_after_ms) == (False, 1)
    assert then.decision.allowed


async def test_a_renewed_lease_goes_on(world: World, leases: Leases) -> None:
    """A renewal extends a lease to one window from then, as often as it comes in time."""
    ada = subject(world, units=1)
    [held] = await hold_all(leases, ada)

    for _ in range(5):
        await outlive(world, ada)
        await world.advance(WINDOW_MS - 1)
        assert await leases.renew(ada, held)

    assert (await leases.lease(ada)).decision.retry_after_ms == WINDOW_MS


async def test_a_lease_that_is_over_stays_over(world: World, leases: Leases) -> None:
    """A lease that expired, was released or is unknown is neither renewed nor released, and nothing is written."""
    ada = subject(world, units=1)
    [late] = await hold_all(leases, ada)
    await world.advance(WINDOW_MS)
    [other] = await hold_all(leases, ada)
    before = await stored(world, ada)

    for unknown in (late, "0" * 32, "no such name", ""):
        assert not await leases.renew(ada, unknown)
        assert not await leases.release(ada, unknown)

    assert await stored(world, ada) == before
    assert await leases.release(ada, other)
    assert not await leases.release(ada, other)
    assert not await leases.renew(ada, other)


async def test_a_released_permit_is_free_at_once(world: World, leases: Leases) -> None:
    """A released permit is free for the next lease, and the last release leaves no key behind."""
    ada = subject(world)
    first, second = await hold_all(leases, ada)

    assert await leases.release(ada, first)
    third = await leases.lease(ada)

    assert third.id is not None
    assert await leases.release(ada, second)
    assert await leases.release(ada, third.id)
    assert await world.command("limits", "EXISTS", ada.state_key) == 0


async def test_a_look_changes_nothing(world: World, leases: Leases) -> None:
    """Peek returns the decision of a lease, whether the subject is known or not, and writes nothing."""
    ada = subject(world, units=1)
    fresh = await leases.peek(ada)
    assert await world.command("limits", "EXISTS", ada.state_key) == 0
    await hold_all(leases, ada)

    full = await leases.peek(ada)

    assert (fresh.allowed, fresh.limits[0].remaining, fresh.limits[0].reset_after_ms) == (True, 1, 0)
    assert (full.allowed, full.limits[0].remaining, full.retry_after_ms) == (False, 0, WINDOW_MS)
    assert full == (await leases.lease(ada)).decision


async def test_every_key_ends_with_its_last_lease(world: World, leases: Leases) -> None:
    """P10: the key expires with its last lease, and no name of the subject is stored."""
    ada = subject(world)
    [first, _] = await hold_all(leases, ada)
    await world.advance(30_000)
    await leases.renew(ada, first)

    left_ms = await world.command("limits", "PTTL", ada.state_key)

    assert WINDOW_MS - world.real_elapsed_ms - 1 <= left_ms <= WINDOW_MS
    assert b"ada" not in b"".join(await world.command("limits", "KEYS", "*"))
    await world.advance(WINDOW_MS)
    assert await world.command("limits", "EXISTS", ada.state_key) == 0


async def test_a_shorter_window_leaves_longer_leases_their_key(world: World, leases: Leases) -> None:
    """A lease with a shorter window does not make the key expire before a lease that lasts longer."""
    long, short = subject(world, window_ms=3_600_000), subject(world, window_ms=3_590_000)
    await leases.lease(long)
    await leases.lease(short)

    assert await world.command("limits", "PTTL", long.state_key) > 3_595_000


async def test_a_foreign_value_counts_as_nothing(world: World, leases: Leases) -> None:
    """A value that holds no leases is treated as absent and counted; the first lease that is granted replaces it."""
    ada = subject(world, units=1)
    await world.command("limits", "SET", ada.state_key, "TH1;")

    assert (await leases.peek(ada)).limits[0].remaining == 1
    assert not await leases.renew(ada, "0" * 32)
    assert not await leases.release(ada, "0" * 32)
    assert await world.command("limits", "GET", ada.state_key) == b"TH1;"
    given = await leases.lease(ada)

    assert list(await stored(world, ada)) == [given.id]
    assert discarded(world, "foreign") == 2
    assert await world.command("limits", "PTTL", ada.state_key) > 0


async def test_with_fewer_permits_than_are_held_as_many_have_to_end(world: World, leases: Leases) -> None:
    """When a policy gets fewer permits, no holder loses one, and the wait lasts until few enough are held."""
    many, one = subject(world, units=3), subject(world, units=1)
    for _ in range(3):
        await leases.lease(many)
        await world.advance(10_000)

    refused = await leases.lease(one)

    assert refused.decision.retry_after_ms == 50_000
    assert refused.decision.limits[0].remaining == 0


STEPS_BACK_MS = (30_000, 300_000)


@pytest.mark.parametrize("back_ms", STEPS_BACK_MS)
async def test_a_step_back_takes_no_permit_from_a_holder(world: World, leases: Leases, back_ms: int) -> None:
    """P1: after the clock stepped back, holders that renew keep their permits, and none is granted above the limit."""
    ada = subject(world)
    held = await hold_all(leases, ada)
    world.step_back(back_ms)

    for _ in range(20):
        assert not (await leases.lease(ada)).decision.allowed
        await world.advance(HEARTBEAT_MS)
        assert [await leases.renew(ada, lease_id) for lease_id in held] == [True, True]

    assert (await leases.lease(ada)).decision.retry_after_ms == WINDOW_MS


@pytest.mark.parametrize("back_ms", STEPS_BACK_MS)
async def test_a_step_back_keeps_no_permit_away(world: World, leases: Leases, back_ms: int) -> None:
    """The permit of a crashed holder returns within a window and a minute, however far the clock stepped back."""
    ada = subject(world)
    crashed, alive = await hold_all(leases, ada)
    await outlive(world, ada)
    world.step_back(back_ms)

    refused = await leases.lease(ada)

    waited_ms, retry_after_ms = 0, refused.decision.retry_after_ms
    assert retry_after_ms is not None
    while waited_ms < retry_after_ms:
        assert not (await leases.lease(ada)).decision.allowed
        assert await leases.renew(ada, alive)
        await world.advance(10_000)
        waited_ms += 10_000
    assert retry_after_ms == min(WINDOW_MS + back_ms, WINDOW_MS + 60_000)
    assert (await leases.lease(ada)).decision.allowed
    assert not await leases.renew(ada, crashed)
    assert discarded(world, "clock-ahead") == (2 if back_ms == 300_000 else 0)


async def test_leases_are_clamped_only_if_they_are_too_long(world: World, leases: Leases) -> None:
    """A run of limits/clamp_leases that finds nothing too far ahead, or no leases at all, writes nothing."""
    ada = subject(world)
    run = world.stores.limits.run
    assert await run("limits/clamp_leases", [ada.state_key], [WINDOW_MS]) == [0]
    await leases.lease(ada)
    world.step_back(60_000)
    before = await stored(world, ada)

    assert await run("limits/clamp_leases", [ada.state_key], [WINDOW_MS]) == [0]
    assert await stored(world, ada) == before
    world.step_back(1)
    assert await run("limits/clamp_leases", [ada.state_key], [WINDOW_MS]) == [1]
    assert list((await stored(world, ada)).values()) == [world.now_ms + 120_000]


async def test_a_call_that_runs_twice_holds_one_permit(world: World) -> None:
    """A lease whose reply was lost may be requested again under its id: it holds the same permit."""
    ada = subject(world)

    first = await world.stores.limits.run("limits/lease", [ada.state_key], ["a" * 32, 2, WINDOW_MS])
    again = await world.stores.limits.run("limits/lease", [ada.state_key], ["a" * 32, 2, WINDOW_MS])

    assert first == again == [0, 0, 0, 0, 1, WINDOW_MS]


async def test_a_shadow_refuses_no_lease(world: World, leases: Leases) -> None:
    """A shadow decides and counts; if no permit is free the lease is allowed and holds none."""
    ada = subject(world, units=1, shadow=True)
    await hold_all(leases, ada)

    above = await leases.lease(ada)

    assert (above.decision.allowed, above.decision.reason, above.id) == (True, "shadow", None)
    assert (above.decision.refused_by, above.decision.retry_after_ms) == ("1/minute", None)
    assert counted(world, "shadow-refused") == 1


async def test_a_key_on_a_list_needs_no_permit(world: World, leases: Leases) -> None:
    """A key on the allow list is admitted without a permit, one on the deny list is refused; nothing is written."""
    lists = {"allow": ("ada",), "deny": ("eve",)}

    allowed = await leases.lease(subject(world, **lists))
    denied = await leases.lease(subject(world, "eve", **lists), wait_ms=1_000)

    assert (allowed.decision.allowed, allowed.decision.reason, allowed.id) == (True, "allow-listed", None)
    assert (denied.decision.allowed, denied.decision.reason, denied.id) == (False, "deny-listed", None)
    assert await world.command("limits", "DBSIZE") == 0


async def test_other_algorithms_have_no_leases(world: World, leases: Leases) -> None:
    """A lease under a policy that counts takes is wrong input, and the error names the policy."""
    api = under(world, parse_policy("api", "5/minute"))

    for call in (leases.lease(api), leases.renew(api, "0" * 32), leases.release(api, "0" * 32), leases.peek(api)):
        with pytest.raises(InvalidInput) as caught:
            await call
        assert (caught.value.field, caught.value.value) == ("policy", "api")


@pytest.mark.parametrize("wait_ms", [-1, WAIT_MS_MAX + 1, 1.5, True])
async def test_a_wait_has_bounds(world: World, leases: Leases, wait_ms: int) -> None:
    """A wait is a whole number of milliseconds up to a minute."""
    with pytest.raises(InvalidInput) as caught:
        await leases.lease(subject(world), wait_ms=wait_ms)
    assert caught.value.field == "wait_ms"


async def test_leases_run_by_the_clock_of_the_server(world: World) -> None:
    """Outside tests the server's own time decides: every script reads now_ms = 0 as the server's clock."""
    ada = subject(world, window_ms=3_600_000)
    run = world.stores.limits.run
    world.step_back(world.now_ms - server_time())

    leased = await run("limits/lease", [ada.state_key], ["a" * 32, 2, 3_600_000])
    looked = await run("limits/peek_leases", [ada.state_key], [2, 3_600_000])

    assert leased == [0, 0, 0, 0, 1, 3_600_000]
    assert looked[:5] == [0, 0, 0, 0, 1]
    assert 3_500_000 < looked[5] <= 3_600_000
    assert await run("limits/renew", [ada.state_key], ["a" * 32, 3_600_000]) == [1]
    assert await run("limits/clamp_leases", [ada.state_key], [3_600_000]) == [0]
    assert await run("limits/release", [ada.state_key], ["a" * 32]) == [1]
