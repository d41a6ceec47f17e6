"""Whose turn it is to hash: half of the permits and of the memory are the trusted callers'."""

from __future__ import annotations

import pytest

from tollhouse.accounts.hashing.lanes import Lanes, Turn

LARGE = 1_000_000


def entered(lanes, calls):
    """Queue a turn for each letter of `calls`, t for trusted and u for untrusted."""
    turns = [Turn("trusted" if letter == "t" else "untrusted", 1) for letter in calls]
    for turn in turns:
        lanes.enter(turn)
    return turns


def letters(turns):
    return "".join(turn.lane[0] for turn in turns)


#   permits, who comes, who gets a permit at once
FIRST = [
    (1, "uuuu", "u"),
    (1, "uuut", "t"),  # one permit: the trusted lane goes first
    (2, "uuuu", "u"),  # an idle permit stays reserved
    (2, "uuut", "tu"),
    (2, "tttt", "tt"),  # trusted callers borrow what the others leave
    (2, "ttuu", "tu"),
    (3, "uuuu", "u"),
    (3, "uttt", "ttu"),
    (4, "uuuu", "uu"),
    (4, "tttuuu", "ttuu"),
    (5, "uuutttt", "tttuu"),
    (8, "tttttttttuuuu", "ttttuuuu"),
]


@pytest.mark.parametrize(("permits", "calls", "granted"), FIRST)
def test_untrusted_callers_fill_their_lane_alone(permits, calls, granted):
    """At least half of the permits are reserved for trusted callers, who may use them all while no other waits."""
    lanes = Lanes(permits, LARGE)
    entered(lanes, calls)

    assert letters(lanes.grant()) == granted


#   permits, who comes, in which order they run one after the other
ORDERS = [
    (1, "uutt", "ttuu"),
    (2, "uuuttt", "tututu"),
    (2, "tttttu", "tutttt"),
]


@pytest.mark.parametrize(("permits", "calls", "order"), ORDERS)
def test_a_permit_goes_to_the_lane_that_has_less_than_its_share(permits, calls, order):
    """When the eldest hash ends its permit goes to the trusted lane up to its share, then to the other lane."""
    lanes = Lanes(permits, LARGE)
    entered(lanes, calls)

    running = list(lanes.grant())
    ran = list(running)
    while running:
        lanes.leave(running.pop(0))
        granted = list(lanes.grant())
        running, ran = running + granted, ran + granted

    assert letters(ran) == order


def test_a_lane_is_served_in_order():
    """Within a lane the one who came first goes first."""
    lanes = Lanes(1, LARGE)
    turns = entered(lanes, "uuu")

    for turn in turns:
        assert list(lanes.grant()) == [turn]
        lanes.leave(turn)


def test_each_lane_has_a_queue_of_its_own():
    """Eight may wait for each permit of a lane, and a full lane takes no place of the other."""
    lanes = Lanes(3, LARGE)

    entered(lanes, 8 * "u")

    assert lanes.depth("untrusted") == 8
    assert not lanes.has_place("untrusted")
    assert lanes.has_place("trusted")
    entered(lanes, 16 * "t")
    assert not lanes.has_place("trusted")


#   memory, what runs and comes (lane, KiB), how many of them hold memory together
MEMORY = [
    (100, [("untrusted", 25), ("untrusted", 25), ("untrusted", 25)], 2),  # half of it is reserved
    (100, [("untrusted", 60), ("untrusted", 10)], 1),  # one hash may take more than half
    (100, [("untrusted", 60), ("trusted", 40)], 2),
    (100, [("untrusted", 60), ("trusted", 41)], 1),
    (100, [("trusted", 60), ("trusted", 40)], 2),
    (100, [("trusted", 100), ("trusted", 1)], 1),
]


@pytest.mark.parametrize(("memory_kib", "demands", "together"), MEMORY)
def test_hashes_that_run_stay_within_the_budget(memory_kib, demands, together):
    """The memory of hashes that run at once is within the budget, and that of untrusted ones within half of it."""
    lanes = Lanes(8, memory_kib)
    granted = []

    for lane, kib in demands:
        lanes.enter(Turn(lane, kib))
        granted += lanes.grant()

    assert len(granted) == together
    for turn in granted:
        lanes.leave(turn)
    assert len(list(lanes.grant())) == len(demands) - together


def test_small_hashes_do_not_overtake_a_large_one_of_their_lane():
    """The first of the trusted lane waits for memory, and those behind it and in the other lane wait for it."""
    lanes = Lanes(4, 100)
    running, large = Turn("trusted", 30), Turn("trusted", 90)
    lanes.enter(running)
    assert list(lanes.grant()) == [running]

    lanes.enter(large)
    entered(lanes, "tu")
    assert list(lanes.grant()) == []

    lanes.leave(running)
    assert letters(lanes.grant()) == "ttu"


def test_a_turn_that_waits_can_leave():
    """A turn that leaves its queue gets no permit, and those that are cleared get none either."""
    lanes = Lanes(1, LARGE)
    first, second, third = entered(lanes, "uut")

    lanes.leave(first)
    assert list(lanes.grant()) == [third]
    assert list(lanes.clear()) == [second]
    lanes.leave(third)

    assert list(lanes.grant()) == []
    assert {first.state, second.state, third.state} == {"over"}
