"""What limits leave in the store: one value for each subject and policy, with no name in it and an end to its life."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import pytest

from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.errors import StoreError
from tollhouse.keys import UNNAMED
from tollhouse.limits.decision import Decision, Reservation, Take, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store


def limiter(world: StoreWorld, text: str, resolution: int = 16) -> Limiter:
    """A limiter whose one policy, `api`, is `text`."""
    units = [(limit.units, limit.window_ms) for limit in parse_policy("api", text).limits]
    limits = tuple(Limit(units=n, window_ms=window_ms, resolution=resolution) for n, window_ms in units)
    return Limiter(world.stores.limits, {"api": Policy(name="api", limits=limits)}, world.keyring, world.metrics)


def state_key(world: StoreWorld, subject: str = "ada") -> str:
    return UNNAMED.rate(world.keyring.digest("rate", subject), "api")


def discarded(world: StoreWorld, kind: str) -> float:
    return world.metrics.registry.get_sample_value("tollhouse_state_discarded_total", {"kind": kind}) or 0


async def stored(world: StoreWorld, subject: str = "ada") -> tuple[bytes | None, int]:
    key = state_key(world, subject)
    return await world.command("limits", "GET", key), await world.command("limits", "PTTL", key)


async def test_all_windows_of_a_subject_live_in_one_value(world: StoreWorld) -> None:
    """One key for each subject and policy holds every window (S2-26, S2-27), and has no name in it (P10)."""
    limits = limiter(world, "5/minute; 100/hour")

    await limits.take("api", "ada@example.com", 2)
    await world.advance(4_000)
    await limits.take("api", "ada@example.com")

    key = state_key(world, "ada@example.com")
    assert await world.command("limits", "KEYS", "*") == [key.encode()]
    assert "ada" not in key
    assert await world.command("limits", "GET", key) == b"TH2;60/16=3600/16=298571907350528350863349646295072,2:2"


async def test_braces_in_a_key_choose_where_it_lives(world: StoreWorld) -> None:
    """Keys with an equal part in braces share a Cluster slot and are still counted apart."""
    limits = limiter(world, "5/minute")

    for subject in ("{ada}:read", "{ada}:write", "{ada}", "ada", "x{ada}"):
        await limits.take("api", subject)

    tag, digest = world.keyring.digest("rate", "ada"), world.keyring.digest
    assert set(await world.command("limits", "KEYS", "*")) == {
        f"tollhouse:rate:{{{tag}}}:api".encode(),
        *(
            f"tollhouse:rate:{{{tag}}}:{digest('rate', subject)}:api".encode()
            for subject in ("{ada}:read", "{ada}:write", "{ada}", "x{ada}")
        ),
    }


async def test_a_refusal_leaves_the_bytes_and_the_expiry(world: StoreWorld) -> None:
    """P2: after a refusal or a cost of 0 the value is byte for byte the same and does not live longer."""
    limits = limiter(world, "5/minute; 6/hour")
    await limits.take("api", "ada", 5)
    before, left_ms = await stored(world)
    await world.advance(10_000)

    for cost in (1, 2, 5, 6, 7, 0):
        await limits.take("api", "ada", cost)
        await limits.peek("api", "ada", cost)
    await limits.take_batch([Take(policy="api", key="ada")] * 3)

    after, left_then_ms = await stored(world)
    assert after == before
    assert left_then_ms <= left_ms - 10_000


async def test_one_window_that_refuses_keeps_all_from_being_charged(world: StoreWorld) -> None:
    """P2: a take that the hour refuses does not charge the minute, nor the other way round."""
    limits = limiter(world, "5/minute; 6/hour")
    await limits.take("api", "ada", 5)
    assert (await limits.take("api", "ada")).refused_by == "5/minute"
    await world.advance(63_750)
    assert (await limits.take("api", "ada", 1)).allowed
    before, _ = await stored(world)

    refused = await limits.take("api", "ada", 2)

    assert refused.refused_by == "6/hour"
    assert [state.remaining for state in refused.limits] == [4, 0]
    assert (await stored(world))[0] == before


async def test_a_value_lives_until_its_longest_window_is_restored(world: StoreWorld) -> None:
    """Every write sets the expiry to a second after the longest window is restored, and a read none (P10)."""
    limits = limiter(world, "5/minute; 6/hour")

    await limits.take("api", "ada")

    _, left_ms = await stored(world)
    assert 3_826_000 - world.real_elapsed_ms - 1 <= left_ms <= 3_826_000
    await limits.peek("api", "bob")
    assert await world.command("limits", "DBSIZE") == 1


async def test_a_value_written_behind_its_newest_sub_bucket_lives_longer(world: StoreWorld) -> None:
    """After a step back a value is kept for as long as it can refuse, counted from the clock as it is."""
    limits = limiter(world, "5/minute")
    await limits.take("api", "ada")
    world.step_back(30_000)

    await limits.take("api", "ada")

    _, left_ms = await stored(world)
    assert 94_750 - world.real_elapsed_ms - 1 <= left_ms <= 94_750


async def test_changing_a_number_keeps_the_counters(world: StoreWorld) -> None:
    """An operator that raises or lowers a limit gives no subject units back, and takes none away."""
    await limiter(world, "5/minute; 100/hour").take("api", "ada", 4)

    higher = await limiter(world, "10/minute; 50/hour").take("api", "ada", 1)
    lower = await limiter(world, "3/minute; 50/hour").take("api", "ada", 1)

    assert [state.remaining for state in higher.limits] == [5, 45]
    assert (lower.allowed, [state.remaining for state in lower.limits]) == (False, [0, 45])


async def test_windows_that_come_and_go_leave_the_others_alone(world: StoreWorld) -> None:
    """Entries go by window and resolution, not by place: a new window begins empty, a dropped one is forgotten."""
    await limiter(world, "5/minute; 100/hour").take("api", "ada", 2)

    more = await limiter(world, "9/day; 100/hour; 3/second; 5/minute").take("api", "ada")
    await limiter(world, "100/hour").take("api", "ada")
    value, _ = await stored(world)
    back = await limiter(world, "5/minute; 100/hour").peek("api", "ada")

    assert [state.remaining for state in more.limits] == [8, 97, 2, 2]
    assert value == b"TH2;3600/16=5086334964629508"
    assert [state.remaining for state in back.limits] == [5, 96]


async def test_another_resolution_is_another_window(world: StoreWorld) -> None:
    """Sub-buckets of another width cannot be read: the window begins anew, the others go on."""
    await limiter(world, "5/minute", resolution=16).take("api", "ada", 4)

    finer = await limiter(world, "5/minute", resolution=60).take("api", "ada", 4)

    assert finer.allowed


@pytest.mark.parametrize("value", [b"", b"7", b"TH0;60000/16=480000000;5;0;", b"\xff\x00" * 40])
async def test_a_foreign_value_counts_as_nothing(world: StoreWorld, value: bytes) -> None:
    """A text that is not ours is treated as absent and counted; only an allowed take replaces it."""
    limits = limiter(world, "5/minute")
    await world.command("limits", "SET", state_key(world), value)

    peeked = await limits.peek("api", "ada", 5)
    looked = await limits.take("api", "ada", 0)
    assert (await stored(world))[0] == value
    taken = await limits.take("api", "ada", 5)

    assert (peeked.allowed, looked.limits[0].remaining, taken.allowed) == (True, 5, True)
    assert discarded(world, "foreign") == 3
    assert not (await limits.take("api", "ada")).allowed
    assert discarded(world, "foreign") == 3


async def test_a_value_of_another_type_counts_as_nothing(world: StoreWorld) -> None:
    """A list in place of a state is no error for the caller: it is counted, and replaced by the next take."""
    limits = limiter(world, "5/minute")
    await world.command("limits", "RPUSH", state_key(world), "7")

    assert (await limits.peek("api", "ada")).allowed
    assert (await limits.take("api", "ada", 5)).allowed

    assert discarded(world, "foreign") == 2
    assert (await stored(world))[0] == b"TH2;60/16=2985717999763461"
    assert not (await limits.take("api", "ada")).allowed


async def test_a_damaged_entry_counts_as_nothing(world: StoreWorld) -> None:
    """An entry that cannot be read begins anew, and the other windows go on."""
    limits = limiter(world, "5/minute; 100/hour")
    await limits.take("api", "ada", 5)
    value, _ = await stored(world)
    damaged = (value or b"").replace(b"=2985717999763461", b"=298571799976346x", 1)
    await world.command("limits", "SET", state_key(world), damaged, "KEEPTTL")

    decision = await limits.take("api", "ada", 5)

    assert (decision.allowed, [state.remaining for state in decision.limits]) == (True, [0, 90])


async def test_a_state_far_ahead_is_not_believed(world: StoreWorld) -> None:
    """A clock that stepped back by more than a minute begins anew, and that is counted; up to a minute it does not."""
    limits = limiter(world, "5/minute")
    await limits.take("api", "ada", 5)

    world.step_back(60_000)
    assert not (await limits.take("api", "ada")).allowed
    assert discarded(world, "clock-ahead") == 0
    world.step_back(1)

    assert (await limits.peek("api", "ada", 5)).allowed
    assert (await limits.take("api", "ada", 5)).allowed
    assert discarded(world, "clock-ahead") == 2
    assert not (await limits.take("api", "ada")).allowed
    assert discarded(world, "clock-ahead") == 2


async def test_a_server_that_forbids_reading_is_no_empty_limit(embedded: StoreWorld) -> None:
    """An error that says nothing about the value is raised: it must not look like a subject that took nothing."""
    password = secrets.token_hex(8)
    rules = ("on", f">{password}", "~*", "+@all", "-get", "-set")
    await embedded.command("limits", "ACL", "SETUSER", "halved", *rules)
    stores = open_stores(
        urls_by_store(embedded.url.replace("unix://", f"unix://halved:{password}@"), {}), SCRIPTS, Metrics()
    )
    limits = Limiter(stores.limits, {"api": parse_policy("api", "5/minute")}, embedded.keyring, embedded.metrics)

    with pytest.raises(StoreError):  # Redis 7.0 says that a right is missing, later servers that the script failed
        await limits.peek("api", "ada")

    await stores.aclose()
    await embedded.command("limits", "ACL", "DELUSER", "halved")


REFUSALS: dict[str, Callable[[Limiter], Awaitable[Decision]]] = {
    "take": lambda limits: limits.take("api", "ada"),
    "take_all": lambda limits: _first(limits.take_all([Take(policy="api", key="ada")])),
    "take_up_to": lambda limits: limits.take_up_to("api", "ada", 5),
    "reserve": lambda limits: _of_reservation(limits.reserve("api", "ada", 1)),
}


@pytest.mark.parametrize("verb", REFUSALS)
async def test_a_lowered_gcra_limit_remembers_what_it_counts(world: StoreWorld, verb: str) -> None:
    """What is counted when a limit is lowered stays counted until the moment that a refusal names (P3)."""
    before, after = (parse_policy("api", text, "gcra") for text in ("600/minute", "60/minute"))
    limits = Limiter(world.stores.limits, {"api": before}, world.keyring, world.metrics)
    await limits.take("api", "ada", 600)
    bytes_before, _ = await stored(world)

    limits.replace_policies({"api": after})
    refused = await REFUSALS[verb](limits)
    bytes_after, _ = await stored(world)
    await world.advance(540_999)
    a_millisecond_early = await limits.take("api", "ada")
    await world.advance(1)
    in_time = await limits.take("api", "ada")

    assert (refused.allowed, refused.retry_after_ms) == (False, 541_000)
    assert bytes_after == bytes_before
    assert (a_millisecond_early.retry_after_ms, in_time.allowed) == (1, True)


async def _first(taking: Awaitable[TakeAllResult]) -> Decision:
    return (await taking).decisions[0]


async def _of_reservation(reserving: Awaitable[Reservation]) -> Decision:
    return (await reserving).decision
