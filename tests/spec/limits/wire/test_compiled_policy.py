"""A take that is alone in its call does what it does among others (limits/take_one, limits/take_metered)."""

from __future__ import annotations

import pytest

from tests import twins
from tests.worlds import START_MS, StoreWorld
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.limits.wire.compiled_policy import compile_policies

ALONE, AMONG, OTHER = (f"tollhouse:rate:{{a}}:{name}" for name in ("alone", "among", "other"))
GCRA = parse_policy("api", "10/minute burst 12", "gcra")
COUNTER = parse_policy("api", "10/minute", "sliding-window-counter")
SLIDING, FIXED = (parse_policy("api", "10/minute", algorithm) for algorithm in ("sliding-window", "fixed-window"))
LOG, HUGE = parse_policy("api", "10/minute", "sliding-log"), parse_policy("api", "1000000000/day")
PAIR, THREE, FAR = (
    parse_policy("api", text) for text in ("10/minute; 12/hour", "10/minute; 20/hour; 30/day", "10/minute; 99/365 days")
)
PAIR_FIXED = parse_policy("api", "10/minute; 12/hour", "fixed-window")
MINUTE = START_MS // 60_000


async def taken(world: StoreWorld, policy: Policy, cost: int) -> list[twins.Answer]:
    """What a take alone of one key answers, and one among others of a key that has the same past."""
    alone = twins.answer(await twins.take(world, [(ALONE, policy, cost)]), [policy])
    reply = await twins.take(world, [(AMONG, policy, cost), (OTHER, policy, 0)])
    among = twins.answer(reply, [policy, policy])
    return [alone, twins.Answer(foreign=among.foreign, discarded=among.discarded, verdicts=among.verdicts[:1])]


async def stored(world: StoreWorld, key: str) -> tuple[bytes | None, int]:
    kind = await world.command("limits", "TYPE", key)
    value = await world.command("limits", "GET", key) if kind == b"string" else kind
    return value, await world.command("limits", "PTTL", key)


async def assert_alike(world: StoreWorld) -> None:
    (alone, alone_ms), (among, among_ms) = await stored(world, ALONE), await stored(world, AMONG)
    assert alone == among
    assert abs(alone_ms - among_ms) <= world.real_elapsed_ms + 1


#    policy, its algorithm                            the script of its takes, and their arguments
SOLO = [
    ("7/minute", "sliding-window", "limits/take_one", (2, "TH2;60/16=", 7, 60_000, 16)),
    ("7/minute", "fixed-window", "limits/take_one", (2, "TH2;fixed-window/60=", 7, 60_000, 0)),
    ("7/minute", "gcra", "limits/take_metered", (2, "TH1;gcra/60000=", 7, 60_000, 7)),
    ("7/minute burst 9", "gcra", "limits/take_metered", (2, "TH1;gcra/60000=", 7, 60_000, 9)),
    (
        "7/minute",
        "sliding-window-counter",
        "limits/take_metered",
        (2, "TH1;sliding-window-counter/60000=", 7, 60_000, 0),
    ),
    ("7/minute", "sliding-log", "limits/take", (1, "sliding-log", 1, 7, 60_000, 0, 1, 2)),
    ("7/minute; 9/hour", "gcra", "limits/take", (1, "gcra", 2, 7, 60_000, 7, 9, 3_600_000, 9, 1, 2)),
]


@pytest.mark.parametrize(("text", "algorithm", "script", "args"), SOLO)
def test_a_take_alone_has_the_script_of_its_algorithm(text: str, algorithm, script: str, args: tuple) -> None:
    """Algorithms with slots have a script, those without another if there is one limit, all others that of batches."""
    compiled = compile_policies({"api": parse_policy("api", text, algorithm)}, 1)["api"]

    found, arguments = compiled.solo_call(2)

    assert (found, tuple(arguments)) == (script, args)


STEPS = [(0, 3), (1, 2), (0, 0), (11_500, 4), (30_000, 1), (1, 9), (59_000, 1), (22_000, 7), (60_000, 1), (1, 10)]
STEPS += [(200_000, 13), (0, 7), (3_750, 1), (52_500, 1), (3_750, 1), (7_500, 1), (-30_000, 1), (0, 2), (5_400_000, 1)]


@pytest.mark.parametrize(
    "policy",
    [GCRA, COUNTER, SLIDING, FIXED, LOG, HUGE, PAIR, THREE, FAR, PAIR_FIXED],
    ids=lambda policy: "; ".join(limit.text for limit in policy.limits),
)
async def test_takes_alone_count_as_takes_among_others_do(world: StoreWorld, policy: Policy) -> None:
    """Whatever is taken and whenever, decisions, stored bytes and ends of life are the same."""
    for advance_ms, cost in STEPS:
        if advance_ms < 0:
            world.step_back(-advance_ms)
        else:
            await world.advance(advance_ms)

        alone, among = await taken(world, policy, cost)

        assert alone == among
        await assert_alike(world)


def slots(name: str, slots_ago: int, total: int, previous: str = "") -> str:
    """A state of one window whose newest slot is so many before the present one."""
    seconds, _, resolution = name.removeprefix("fixed-window/").partition("/")
    index = START_MS * int(resolution or 1) // (int(seconds) * 1000) - slots_ago
    return f"TH2;{name}={10**15 + index % (1 << 22) * (1 << 30) + total}{previous}"


def together(*states: str) -> str:
    """A state of the windows of these states, each of which has one."""
    names, units = zip(*(state.removeprefix("TH2;").split("=") for state in states), strict=True)
    digits, previous = "".join(one[:16] for one in units), ";".join(one[16:] for one in units)
    return f"TH2;{''.join(f'{name}=' for name in names)}{digits}{previous.rstrip(';')}"


ENDED, IN_SLOT, HOUR_ENDED = slots("60/16", 2, 5), slots("60/16", 0, 5), slots("3600/16", 1, 5)
NEWEST = (START_MS * 16 // 60_000 - 2) % 17
VALUES = [
    (SLIDING, slots("60/16", 2, 5)),
    (SLIDING, slots("60/16", 16, 5)),
    (SLIDING, slots("60/16", 17, 5)),
    (SLIDING, slots("60/16", 18, 5)),
    (SLIDING, slots("60/16", 2, 9, f"6,{(NEWEST + 3) % 17}:2,{(NEWEST + 4) % 17}:4")),
    (SLIDING, slots("60/16", 2, 9, f"6,{(NEWEST + 1) % 17}:2,{(NEWEST + 2) % 17}:4")),
    (SLIDING, slots("60/16", 2, 9, f"6,{(NEWEST + 1) % 17}:2,{(NEWEST + 9) % 17}:4")),
    (SLIDING, slots("60/16", 2, 9, f"6,{(NEWEST + 1) % 17}:20,{(NEWEST + 9) % 17}:4")),
    (SLIDING, slots("60/16", 2, 6, f"6,{(NEWEST + 9) % 17}:6")),
    (SLIDING, slots("60/16", 2, 9, f"6,{(NEWEST + 9) % 17}:6;7,1:7")),
    (SLIDING, slots("60/16", 2, 9, f"1831/6,{(NEWEST + 9) % 17}:6")),
    (SLIDING, slots("60/16", 2, 5)[:-1] + "x"),
    (SLIDING, slots("60/16", 2, 5)[:-3]),
    (SLIDING, slots("60/16", -2, 5)),
    (SLIDING, slots("60/16", -40, 5)),
    (SLIDING, slots("30/16", 2, 5)),
    (FIXED, slots("fixed-window/60", 0, 5)),
    (FIXED, slots("fixed-window/60", 1, 5)),
    (FIXED, slots("fixed-window/60", 1, 12)),
    (PAIR, together(ENDED, HOUR_ENDED)),
    (PAIR, together(ENDED, slots("3600/16", 0, 5))),
    (PAIR, together(IN_SLOT, HOUR_ENDED)),
    (PAIR, together(slots("60/16", 0, 5, "2,1:2"), slots("3600/16", 1, 5, "3,1:3"))),
    (PAIR, together(slots("60/16", 17, 5), slots("3600/16", 0, 7, "2,1:2"))),
    (PAIR, together(slots("60/16", 2, 9, f"6,{(NEWEST + 1) % 17}:2,{(NEWEST + 9) % 17}:4"), HOUR_ENDED)),
    (PAIR, together(slots("60/16", 2, 9, f"6,{(NEWEST + 9) % 17}:6"), slots("3600/16", 20, 9, "3,1:3"))),
    (PAIR, together(IN_SLOT, slots("3600/16", 1, 11))),
    (PAIR, together(ENDED, slots("3600/16", 0, 11))),
    (PAIR, together(ENDED, slots("3600/16", 0, 0))),
    (PAIR, together(ENDED, slots("3600/16", 0, 5, "0"))),
    (PAIR, together(ENDED, slots("3600/16", 0, 5, "1831/3,1:3"))),
    (PAIR, together(ENDED, slots("3600/16", -1, 5))),
    (PAIR, together(ENDED, slots("3600/16", 0, 5)[:-2] + ".5")),
    (PAIR, together(ENDED, slots("3600/16", 0, 5)[:-1] + "x")),
    (PAIR, together(ENDED, HOUR_ENDED)[:-1]),
    (PAIR, together(ENDED, HOUR_ENDED)[:-16]),
    (PAIR, together(ENDED, HOUR_ENDED) + ";;9,1:9"),
    (PAIR, ENDED),
    (FAR, together(ENDED, slots("31536000/16", 0, 5))),
    (PAIR_FIXED, together(slots("fixed-window/60", 1, 5), slots("fixed-window/3600", 0, 5))),
    (GCRA, "TH2;"),
    (GCRA, "another's"),
    (GCRA, f"TH1;gcra/60000={START_MS};3;100;x"),
    (GCRA, f"TH1;gcra/60000={START_MS + 30_000};3;100;"),
    (GCRA, f"TH1;gcra/60000={START_MS + 90_000};3;100;"),
    (GCRA, f"TH1;gcra/60000={START_MS};13;100;"),
    (GCRA, f"TH1;gcra/60000={START_MS};3;{'9' * 30};"),
    (GCRA, f"TH1;gcra/30000={START_MS};3;100;"),
    (GCRA, f"TH1;hold/a=2,{START_MS - 500},20000;gcra/60000={START_MS};3;100;"),
    (COUNTER, f"TH1;sliding-window-counter/60000={MINUTE - 1};8;3,1:3;"),
    (COUNTER, f"TH1;sliding-window-counter/60000={MINUTE - 2};8;3,0:3;"),
    (COUNTER, f"TH1;sliding-window-counter/60000={MINUTE + 1};8;3,0:3;"),
    (COUNTER, f"TH1;sliding-window-counter/60000={MINUTE};2;3,1:3;"),
    (COUNTER, f"TH1;sliding-window-counter/60000={MINUTE};11;3,1:3;"),
    (COUNTER, f"TH1;sliding-window-counter/60000={MINUTE};8;"),
    (COUNTER, f"TH1;hold/a=2,{START_MS - 500},20000;sliding-window-counter/60000={MINUTE};3;0;"),
    (COUNTER, f"TH1;gcra/60000={START_MS};3;100;"),
]


@pytest.mark.parametrize(("policy", "value"), VALUES)
@pytest.mark.parametrize("cost", [0, 2, 10])
async def test_a_take_alone_reads_what_is_stored_as_others_do(
    world: StoreWorld, policy: Policy, value: str, cost: int
) -> None:
    """What is damaged, another's, ahead of the clock or with holds is read as in a batch. A refusal keeps it."""
    for key in (ALONE, AMONG):
        await world.command("limits", "SET", key, value, "PX", 120_000)

    alone, among = await taken(world, policy, cost)

    assert alone == among
    await assert_alike(world)
    if not alone.verdicts[0].allowed:
        assert (await stored(world, ALONE))[0] == value.encode()


@pytest.mark.parametrize("cost", [0, 2, 13])
async def test_a_value_of_another_type_is_replaced_by_an_admission_alone(world: StoreWorld, cost: int) -> None:
    """It counts as nothing, is reported as foreign, and stays until units are charged."""
    for key in (ALONE, AMONG):
        await world.command("limits", "RPUSH", key, "7")

    alone, among = await taken(world, GCRA, cost)

    assert alone == among
    assert alone.foreign == 1
    await assert_alike(world)


#    policy                           cost    the reply
REPLIES = [
    ("10/minute burst 12", "gcra", 2, [-10 * 120_002 - 12_000]),
    ("1000/second burst 1", "gcra", 1, [-1]),
    ("10/minute burst 30", "gcra", 20, [-10 * 120_002 - 120_000]),
    ("10/minute burst 30", "gcra", 21, [0, 0, 0, 0, 9, 126_000]),
    ("1000000/300 days", "gcra", 2, [0, 0, 0, 0, 999_998, 51_840]),
    ("10/minute", "sliding-window-counter", 2, [-8 * 120_002 - 120_000]),
    ("200000/300 days", "sliding-window-counter", 2, [0, 0, 0, 0, 199_998, 40_320_000_000]),
]


@pytest.mark.parametrize(("text", "algorithm", "cost", "reply"), REPLIES)
async def test_an_admission_under_one_limit_is_one_number(
    world: StoreWorld, text: str, algorithm, cost: int, reply: list[int]
) -> None:
    """It has what remains and when that is restored, if a double holds it for the whole limit and the time fits."""
    assert await twins.take(world, [(ALONE, parse_policy("api", text, algorithm), cost)]) == reply
