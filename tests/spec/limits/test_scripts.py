"""The scripts of limits on a store, each by itself: what they write, what they leave alone, and what they announce."""

from __future__ import annotations

import asyncio

import pytest

from tests import twins
from tests.histories import COUNTING
from tests.worlds import SCRIPTS, START_MS, StoreWorld
from tollhouse.limits.algorithms.evaluate import FULL, HOLDS_MAX
from tollhouse.limits.policy.policy import Algorithm, Limit, Policy
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store

KEY = "tollhouse:rate:{a}:api"
OTHER = "tollhouse:rate:{a}:other"
CHANNEL = "tollhouse:rate:cleared"

TEN = Limit(units=10, window_ms=60_000)
HUNDRED = Limit(units=100, window_ms=3_600_000)
API = Policy(name="api", limits=(TEN, HUNDRED))
TEN_ONLY = Policy(name="api", limits=(TEN,))
FIXED = Policy(name="fixed", algorithm="fixed-window", limits=(TEN,))
PER_WINDOW = {algorithm: Policy(name="api", algorithm=algorithm, limits=(TEN, HUNDRED)) for algorithm in COUNTING}


async def take(world: StoreWorld, cost: int, policy: Policy = API, key: str = KEY) -> twins.Answer:
    return twins.answer(await twins.take(world, [(key, policy, cost)]), [policy])


async def reserve(world: StoreWorld, name: str, units: int, held_ms: int = 30_000, policy: Policy = API) -> list[int]:
    return await twins.ask(world, "limits/reserve", KEY, policy, name, units, held_ms)


async def settle(world: StoreWorld, name: str, actual: int, policy: Policy = API) -> list[int]:
    return await twins.ask(world, "limits/settle", KEY, policy, name, actual, CHANNEL)


async def refund(world: StoreWorld, units: int, policy: Policy = API, rarely: int = 0) -> list[int]:
    return await twins.ask(world, "limits/refund", KEY, policy, units, CHANNEL, rarely, 0)


async def stored(world: StoreWorld, key: str = KEY) -> tuple[bytes | None, int]:
    return await world.command("limits", "GET", key), await world.command("limits", "PTTL", key)


def digits(index: int, total: int) -> str:
    """The 16 digits of a window whose newest slot has this index."""
    return str(10**15 + index % (1 << 22) * (1 << 30) + total)


#    algorithm                 what is stored after 3 units at START_MS, and 2 more 4 s later, by minute and by hour
LATER_MS = START_MS + 4_000
TEXTS: list[tuple[Algorithm, str]] = [
    ("sliding-window", f"TH2;60/16=3600/16={digits(480_000_001, 5)}{digits(8_000_000, 5)}3,2:3"),
    ("fixed-window", f"TH2;fixed-window/60=fixed-window/3600={digits(30_000_000, 5)}{digits(500_000, 5)}"),
    (
        "sliding-log",
        f"TH2;sliding-log/60=sliding-log/3600={digits(LATER_MS, 5) * 2}{LATER_MS >> 22}/3,0:3;{LATER_MS >> 22}/3,0:3",
    ),
    (
        "sliding-window-counter",
        "TH1;sliding-window-counter/60000=30000000;sliding-window-counter/3600000=500000;5;5;0;0;",
    ),
    ("gcra", f"TH1;gcra/60000={LATER_MS};gcra/3600000={LATER_MS};4;4;20000;3200000;"),
]


@pytest.mark.parametrize(("algorithm", "text"), TEXTS)
async def test_a_state_is_one_short_text(world: StoreWorld, algorithm: Algorithm, text: str) -> None:
    """All windows are in one value: their names, then what counts in each, then the older units of each.

    If an algorithm has slots, the digits of each window have a fixed width, so that a take changes them in place.
    """
    policy = PER_WINDOW[algorithm]
    await take(world, 3, policy)
    await world.advance(4_000)

    await take(world, 2, policy)

    assert (await stored(world))[0] == text.encode()


#    a value as an earlier version stored it, and what is stored after 2 more units
FORMER: list[tuple[Algorithm, str, str]] = [
    (
        "sliding-window",
        "TH1;60000/16=479999999;3600000/16=8000000;3;3;0;0;",
        f"TH2;60/16=3600/16={digits(480_000_000, 5)}{digits(8_000_000, 5)}3,{479_999_999 % 17}:3",
    ),
    (
        "sliding-log",
        f"TH1;sliding-log/60000={START_MS};sliding-log/3600000={START_MS};3;3;0;0;",
        f"TH2;sliding-log/60=sliding-log/3600={digits(START_MS, 5) * 2}{START_MS >> 22}/;{START_MS >> 22}/",
    ),
    (
        "fixed-window",
        "TH1;fixed-window/60000=30000000;fixed-window/3600000=500000;3;3;0;0;",
        f"TH2;fixed-window/60=fixed-window/3600={digits(30_000_000, 5)}{digits(500_000, 5)}",
    ),
]


@pytest.mark.parametrize("script", ["limits/take", "limits/take_all", "limits/take_up_to"])
@pytest.mark.parametrize(("algorithm", "former", "text"), FORMER)
async def test_a_value_of_the_former_form_counts_and_is_replaced(
    world: StoreWorld, algorithm: Algorithm, former: str, text: str, script: str
) -> None:
    """What an earlier version stored is read by every script, and has the new form after the next charge."""
    policy = PER_WINDOW[algorithm]
    await world.command("limits", "SET", KEY, former)

    looked = (await take(world, 0, policy)).verdicts[0]
    unchanged = (await stored(world))[0]
    if script == "limits/take_up_to":
        await twins.ask(world, script, KEY, policy, 2)
    else:
        await twins.take(world, [(KEY, policy, 2)], script)

    assert [one.remaining for one in looked.statuses] == [7, 97]
    assert unchanged == former.encode()
    assert (await stored(world))[0] == text.encode()


async def test_equal_keys_of_one_call_see_each_other(world: StoreWorld) -> None:
    """In one call each take counts what those before it took from the same key, under whatever policy."""
    wider = Policy(name="api", limits=(TEN, HUNDRED, Limit(units=50, window_ms=86_400_000)))
    takes = [(KEY, TEN_ONLY, 1), (KEY, TEN_ONLY, 2), (OTHER, TEN_ONLY, 1), (KEY, TEN_ONLY, 8), (KEY, TEN_ONLY, 1)]
    mixed = [(KEY, API, 1), (KEY, API, 1), (KEY, wider, 1), (KEY, wider, 1), (KEY, API, 1), (KEY, API, 0)]

    for _ in range(2):
        one = twins.answer(await twins.take(world, takes), [policy for _, policy, _ in takes]).verdicts
        await world.advance(3_750)
    await world.clear()
    several = twins.answer(await twins.take(world, mixed), [policy for _, policy, _ in mixed]).verdicts

    assert [verdict.statuses[0].remaining for verdict in one] == [5, 3, 8, 3, 2]
    assert [verdict.allowed for verdict in one] == [True, True, True, False, True]
    assert [[status.remaining for status in verdict.statuses] for verdict in several] == [
        [9, 99],
        [8, 98],
        [7, 97, 49],
        [6, 96, 48],
        [5, 95],
        [5, 95],
    ]


@pytest.mark.parametrize("idle_ms", [26_300_000, 35_000_000, (1 << 22) * 1_000 // 120])
async def test_windows_of_very_different_length_keep_their_place(world: StoreWorld, idle_ms: int) -> None:
    """A second of which millions of slots end within the life of the value is read as over, not as ahead or present."""
    second, year = Limit(units=10, window_ms=1_000, resolution=120), Limit(units=100, window_ms=366 * 86_400_000)
    policy = Policy(name="api", limits=(second, year))
    await take(world, 10, policy)
    await take(world, 0, policy)
    await world.advance(idle_ms)

    answer = await take(world, 10, policy)
    full = await take(world, 1, policy)

    assert (answer.discarded, answer.verdicts[0].allowed) == (0, True)
    assert [one.remaining for one in answer.verdicts[0].statuses] == [0, 80]
    assert not full.verdicts[0].allowed


async def test_two_short_windows_are_charged_in_place(world: StoreWorld) -> None:
    """A text too short for the server to write a part of it is stored whole, with the end that it had."""
    limits = (Limit(units=10, window_ms=60_000, resolution=1), Limit(units=9, window_ms=70_000, resolution=1))
    policy = Policy(name="api", limits=limits)
    await take(world, 1, policy)
    before, before_ms = await stored(world)

    verdicts = [(await take(world, 2, policy)).verdicts[0] for _ in range(2)]
    together = twins.answer(await twins.take(world, [(KEY, policy, 1)] * 2), [policy] * 2).verdicts
    after, after_ms = await stored(world)

    assert [[one.remaining for one in verdict.statuses] for verdict in (*verdicts, *together)] == [
        [7, 6],
        [5, 4],
        [4, 3],
        [3, 2],
    ]
    assert before == f"TH2;60/1=70/1={digits(START_MS // 60_000, 1)}{digits(START_MS // 70_000, 1)}".encode()
    assert after == f"TH2;60/1=70/1={digits(START_MS // 60_000, 7)}{digits(START_MS // 70_000, 7)}".encode()
    assert before_ms - 1_000 <= after_ms <= before_ms


async def test_a_take_in_the_same_slots_leaves_the_end_of_life(world: StoreWorld) -> None:
    """A value lives until its newest slots are released, so that a take in these slots need not prolong it."""
    await take(world, 1)
    await world.advance(3_749)
    before = await stored(world)

    await take(world, 1)
    same = await stored(world)
    await world.advance(1)
    await take(world, 1)
    later = await stored(world)

    assert before[0] != same[0]
    assert before[1] - 50 <= same[1] <= before[1]
    assert 3_826_000 - 3_750 - world.real_elapsed_ms - 1 <= later[1] <= 3_826_000 - 3_750


@pytest.mark.parametrize("call", ["refund", "settle"])
async def test_a_value_whose_newest_slot_is_empty_lives_longer_after_a_take(world: StoreWorld, call: str) -> None:
    """What is written without a charge ends with its previous units; a take in the same slot prolongs it."""
    await take(world, 3, TEN_ONLY)
    await world.advance(30_000)
    if call == "refund":
        await refund(world, 1, TEN_ONLY)
    else:
        await reserve(world, "a", 1, policy=TEN_ONLY)
        await settle(world, "a", 0, TEN_ONLY)
    _, before_ms = await stored(world)

    await take(world, 1, TEN_ONLY)

    assert before_ms <= 34_750
    assert 64_750 - world.real_elapsed_ms - 1 <= (await stored(world))[1] <= 64_750


async def test_a_log_is_as_long_as_its_units(world: StoreWorld) -> None:
    """A log counts equal milliseconds as one and drops what is released, so that it never outgrows its limit."""
    log = Policy(name="api", algorithm="sliding-log", limits=(TEN,))

    for _ in range(60):
        await take(world, 1, log)
        await take(world, 1, log)
        await world.advance(7_000)

    value, _ = await stored(world)
    assert value is not None
    assert value.count(b":") < 10


async def test_entries_of_another_algorithm_are_dropped(world: StoreWorld) -> None:
    """What another algorithm counted is not read, and gone after the next take."""
    await take(world, 10, FIXED)

    verdict = (await take(world, 3, PER_WINDOW["gcra"])).verdicts[0]

    assert [one.remaining for one in verdict.statuses] == [7, 97]
    assert b"fixed" not in ((await stored(world))[0] or b"")


async def refused_take_all(world: StoreWorld) -> list[int]:
    return await twins.take(world, [(KEY, API, 2), (OTHER, FIXED, 3)], "limits/take_all")


async def refused_take_up_to(world: StoreWorld) -> list[int]:
    return await twins.ask(world, "limits/take_up_to", OTHER, FIXED, 3)


async def refused_reserve(world: StoreWorld) -> list[int]:
    return await twins.ask(world, "limits/reserve", OTHER, FIXED, "a", 1, 1_000)


async def unknown_settle(world: StoreWorld) -> list[int]:
    return await settle(world, "unknown", 3)


async def known_reserve(world: StoreWorld) -> list[int]:
    return await reserve(world, "known", 1)


async def refund_of_nothing(world: StoreWorld) -> list[int]:
    return await refund(world, 0)


@pytest.mark.parametrize(
    "call",
    [refused_take_all, refused_take_up_to, refused_reserve, unknown_settle, known_reserve, refund_of_nothing],
)
async def test_what_is_refused_or_unknown_leaves_bytes_and_expiry(world: StoreWorld, call) -> None:
    """P2: a refusal, and whatever finds nothing to do, leaves every value byte for byte and does not prolong it."""
    await reserve(world, "known", 1)
    await take(world, 3)
    await take(world, 10, FIXED, OTHER)
    await world.advance(5_000)
    before, other = await stored(world), await stored(world, OTHER)

    await call(world)

    after, other_after = await stored(world), await stored(world, OTHER)
    assert (after[0], other_after[0]) == (before[0], other[0])
    assert after[1] <= before[1]
    assert other_after[1] <= other[1]


async def test_all_or_nothing(world: StoreWorld) -> None:
    """P2: of several takes, over subjects and algorithms, all are charged or none is (limits/take_all)."""
    await take(world, 8, FIXED, OTHER)
    three = [(KEY, API, 3), (OTHER, FIXED, 3)]

    refused = twins.joint(await twins.take(world, three, "limits/take_all"), [API, FIXED])
    charged = twins.joint(await twins.take(world, [three[0], (OTHER, FIXED, 2)], "limits/take_all"), [API, FIXED])

    assert (refused.allowed, refused.retry_after_ms) == (False, 60_000)
    assert [verdict.allowed for verdict in refused.verdicts] == [True, False]
    assert [[one.remaining for one in verdict.statuses] for verdict in refused.verdicts] == [[10, 100], [2]]
    assert charged.allowed
    assert [[one.remaining for one in verdict.statuses] for verdict in charged.verdicts] == [[7, 97], [0]]


async def test_fifty_at_once_charge_all_subjects_alike(world: StoreWorld) -> None:
    """P1, P2: of 50 concurrent takes of tenant, user and endpoint as many pass as the smallest limit admits."""
    mixed = [
        ("tollhouse:rate:{a}:tenant", Policy(name="tenant", algorithm="gcra", limits=(HUNDRED,)), 2),
        ("tollhouse:rate:{a}:user", Policy(name="user", limits=(Limit(units=33, window_ms=3_600_000),)), 3),
        ("tollhouse:rate:{a}:end", Policy(name="end", algorithm="sliding-log", limits=(HUNDRED,)), 1),
        ("tollhouse:rate:{a}:sum", Policy(name="sum", algorithm="sliding-window-counter", limits=(HUNDRED,)), 1),
        ("tollhouse:rate:{a}:all", Policy(name="all", algorithm="fixed-window", limits=(HUNDRED,)), 1),
    ]

    replies = await asyncio.gather(*(twins.take(world, mixed, "limits/take_all") for _ in range(50)))

    assert sum(reply[2] == 0 for reply in replies) == 11
    left = [(await take(world, 0, policy, key)).verdicts[0].statuses[0].remaining for key, policy, _ in mixed]
    assert left == [100 - 22, 0, 100 - 11, 100 - 11, 100 - 11]


async def test_as_many_as_there_are(world: StoreWorld) -> None:
    """A take of up to so many gets what every limit has left (limits/take_up_to)."""
    await take(world, 7)

    some = twins.counted(await twins.ask(world, "limits/take_up_to", KEY, API, 5), API)
    none = twins.counted(await twins.ask(world, "limits/take_up_to", KEY, API, 5), API)
    looked = twins.counted(await twins.ask(world, "limits/take_up_to", KEY, API, 0), API)

    assert [granted for granted, _ in (some, none, looked)] == [3, 0, 0]
    assert [verdict.allowed for _, verdict in (some, none, looked)] == [True, False, True]


@pytest.mark.parametrize("algorithm", COUNTING)
async def test_what_is_given_back_can_be_taken(world: StoreWorld, algorithm: Algorithm) -> None:
    """A refund gives back what was taken and no more; if nothing is left to count no value is left."""
    policy = PER_WINDOW[algorithm]
    await take(world, 8, policy)

    some = await refund(world, 3, policy)
    rest = await refund(world, 9, policy)
    gone = await stored(world)
    none = await refund(world, 1, policy)

    assert [reply[2] for reply in (some, rest, none)] == [3, 5, 0]
    assert some[3::2] == [5, 95]
    assert gone == (None, -2)


async def test_what_is_held_counts_until_it_is_settled(world: StoreWorld) -> None:
    """A hold takes its units at once (limits/reserve), and the actual units are charged once (limits/settle)."""
    held = await reserve(world, "a", 6)
    refused = (await take(world, 5)).verdicts[0]
    settled = await settle(world, "a", 2)
    again = await settle(world, "a", 2)

    assert held == [0, 0, 0, 0, 4, 30_000, 94, 30_000]
    assert (refused.refused_by, refused.retry_after_ms) == (0, 30_000)
    assert (settled[2], settled[3::2]) == (1, [8, 98])
    assert (again[2], again[3::2]) == (0, [8, 98])


async def test_a_hold_ends_by_itself(world: StoreWorld) -> None:
    """A hold that is never settled is free again when its time is over, and the next take drops it."""
    await take(world, 1)
    await reserve(world, "a", 9)
    await world.advance(29_999)
    early = (await take(world, 1)).verdicts[0]
    await world.advance(1)

    on_time = (await take(world, 9)).verdicts[0]

    assert (early.allowed, early.retry_after_ms) == (False, 1)
    assert on_time.allowed
    assert (await settle(world, "a", 9))[2] == 0
    assert b"hold" not in ((await stored(world))[0] or b"")


async def test_a_value_lives_as_long_as_its_last_hold(world: StoreWorld) -> None:
    """A value is kept until nothing is held any more and every window is restored (P10)."""
    await reserve(world, "a", 1, held_ms=7_200_000)

    value, left_ms = await stored(world)

    assert value == f"TH1;hold/a=1,{START_MS},7200000;".encode()
    assert 7_201_000 - world.real_elapsed_ms - 1 <= left_ms <= 7_201_000
    await settle(world, "a", 0)
    assert await stored(world) == (None, -2)


async def test_holds_of_one_subject_are_bounded(world: StoreWorld) -> None:
    """One subject has at most 128 holds; one more is refused until the first ends, and writes nothing."""
    for i in range(HOLDS_MAX):
        assert (await reserve(world, f"h{i}", 0, held_ms=30_000 + i))[2] == 0
    before, _ = await stored(world)

    full = await reserve(world, "one-more", 1)
    above = await reserve(world, "one-more", 101)
    after, _ = await stored(world)
    await world.advance(30_000)

    assert full[2:4] == [FULL, 30_000]
    assert above[2:4] == [1, -1]
    assert after == before
    assert (await reserve(world, "one-more", 1))[2] == 0


@pytest.mark.parametrize("value", [b"7", b"TH1", b"TH1;60000/16=480000000", b"TH0;60000/16=480000000;5;0;", None])
async def test_a_foreign_value_counts_as_nothing(world: StoreWorld, value: bytes | None) -> None:
    """A foreign value is treated as absent, counted in every reply, and replaced by the next charge only."""
    await world.command("limits", *(("RPUSH", KEY, "7") if value is None else ("SET", KEY, value)))

    looked = [
        await twins.ask(world, "limits/peek", KEY, API, 10),
        await twins.ask(world, "limits/take_up_to", KEY, API, 0),
        await refund(world, 5),
        await settle(world, "a", 5),
        await twins.take(world, [(KEY, API, 11)], "limits/take_all"),
    ]
    left = await world.command("limits", "TYPE", KEY)
    held = await reserve(world, "a", 1)

    assert [reply[0] for reply in looked] == [1] * 5
    assert left == (b"list" if value is None else b"string")
    assert (held[0], (await reserve(world, "b", 1))[0]) == (1, 0)


MINUTE, HOUR = digits(480_000_000, 3), digits(8_000_000, 3)

#    a damaged value that counted 3 of a minute and of an hour, and what is left of each limit then
DAMAGED = [
    (f"TH2;60/16=3600/16={'x' * 16}{HOUR}", [10, 97]),
    (f"TH2;60/16=another={MINUTE}{HOUR}", [7, 100]),
    (f"TH2;60/16=3600/16={MINUTE}{HOUR[:-1]}", [7, 100]),
    (f"TH2;60/16=3600/16={'x' * 32}", [10, 100]),
    (f"TH2;60/16=3600/16={MINUTE}{HOUR};x", [7, 97]),
    ("TH2;60/16=3600/16=", [10, 100]),
    ("TH1;60000/16=x;3600000/16=8000000;3;3;0;0;", [10, 97]),
    ("TH1;60000/16=480000000;another=name=8000000;3;3;0;0;", [7, 100]),
    ("TH1;60000/16=480000000;3600000/16=8000000;3;0;0;", [7, 100]),
    ("TH1;60000/16=480000000;3600000/16=8000000;x;x;0;0;", [10, 100]),
    ("TH1;60000/16=480000000;3600000/16=8000000;3;3;x;", [7, 97]),
]


@pytest.mark.parametrize(("damaged", "left"), DAMAGED)
async def test_damage_is_no_error(world: StoreWorld, damaged: str, left: list[int]) -> None:
    """Damaged parts of a value count as nothing, the others still count, and the next take repairs it."""
    await world.command("limits", "SET", KEY, damaged)

    looked = (await take(world, 0)).verdicts[0]
    await take(world, 1)

    assert [one.remaining for one in looked.statuses] == left
    assert [one.remaining for one in (await take(world, 0)).verdicts[0].statuses] == [n - 1 for n in left]


@pytest.mark.parametrize("algorithm", COUNTING)
async def test_entries_far_ahead_are_counted_and_lock_no_subject_out(world: StoreWorld, algorithm: Algorithm) -> None:
    """After a step back of 5 minutes units are free; each entry and hold that is ignored is reported."""
    policy = Policy(name="api", algorithm=algorithm, limits=(TEN,))
    await take(world, 4, policy)
    await reserve(world, "a", 6, policy=policy)
    world.step_back(60_000)
    near = await twins.ask(world, "limits/peek", KEY, policy, 1)
    world.step_back(240_000)

    far = await twins.ask(world, "limits/peek", KEY, policy, 10)
    taken = await take(world, 10, policy)
    after = await take(world, 1, policy)

    assert near[1:3] == [0, 1]
    assert far[1:3] == [2, 0]
    assert (taken.discarded, taken.verdicts[0].allowed) == (2, True)
    assert (after.discarded, after.verdicts[0].allowed) == (0, False)


class Listener:
    """The announcements that another process receives."""

    def __init__(self, world: StoreWorld) -> None:
        self.stores = world.open_stores()
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._began = asyncio.Event()
        self.stores.limits.listen(CHANNEL, self._heard.put_nowait, lambda: None, self._began.set)

    async def open(self) -> None:
        await self.stores.limits.run("limits/peek", [OTHER], [0, "gcra", 1, 1_000, 1])
        async with asyncio.timeout(5):
            await self._began.wait()

    async def hear(self) -> bytes:
        """Return the next announcement."""
        async with asyncio.timeout(5):
            return await self._heard.get()


@pytest.fixture
async def listener(world: StoreWorld) -> Listener:
    """Another process that is subscribed."""
    opened = Listener(world)
    await opened.open()
    return opened


async def test_units_that_come_back_are_announced(world: StoreWorld, listener: Listener) -> None:
    """A refund, a settlement below the estimate and a reset publish the key and the time, a reset the negative one."""
    await take(world, 5)
    await refund(world, 1)
    await world.advance(7)
    await reserve(world, "a", 3)
    await settle(world, "a", 2)
    forgot = await world.stores.limits.run("limits/reset", [KEY], [CHANNEL])

    heard = [await listener.hear() for _ in range(3)]

    assert forgot == [1]
    assert heard == [f"{at_ms} {KEY}".encode() for at_ms in (START_MS, START_MS + 7, -START_MS - 7)]


async def test_nothing_is_announced_if_nothing_came_back(world: StoreWorld, listener: Listener) -> None:
    """A refund of nothing, a reset of nothing, and a settlement at or above the estimate publish nothing."""
    await refund(world, 5)
    await world.stores.limits.run("limits/reset", [KEY], [CHANNEL])
    await reserve(world, "a", 3)
    await settle(world, "a", 3)
    await settle(world, "a", 1)
    await world.advance(1)
    await refund(world, 1)

    assert await listener.hear() == f"{START_MS + 1} {KEY}".encode()


async def test_units_that_were_not_the_last_may_come_back_unannounced(world: StoreWorld, listener: Listener) -> None:
    """A refund that announces rarely is silent if a take of as many units would have been admitted just before."""
    await take(world, 8)
    await refund(world, 2, rarely=1)
    await world.advance(1)
    await take(world, 3)
    await refund(world, 2, rarely=1)

    assert await listener.hear() == f"{START_MS + 1} {KEY}".encode()
    assert (await take(world, 3)).verdicts[0].allowed


async def test_time_is_the_servers_own(world: StoreWorld) -> None:
    """Outside tests the server's clock decides, for every script."""
    stores = open_stores(urls_by_store(world.url, {}), SCRIPTS, Metrics())
    words = [API.algorithm, *twins.numbers(API)]
    run = stores.limits.run
    both = [1, API.algorithm, 2, *twins.numbers(API), 1, 3]

    taken = await run("limits/take", [KEY], both)
    together = await run("limits/take_all", [KEY], both)
    held = await run("limits/reserve", [KEY], ["a", 2, 50_000, *words])
    settled = await run("limits/settle", [KEY], ["a", 1, CHANNEL, *words])
    back = await run("limits/refund", [KEY], [2, CHANNEL, 0, 0, *words])
    up_to = await run("limits/take_up_to", [KEY], [99, *words])
    refused = await run("limits/peek", [KEY], [1, *words])
    await stores.aclose()

    assert [taken[4], together[5], held[4], settled[3], back[3]] == [7, 4, 2, 3, 5]
    assert (up_to[2], refused[2]) == (5, 1)
    assert 55_000 < refused[3] <= 63_750
