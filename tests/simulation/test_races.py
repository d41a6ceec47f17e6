"""Random races over the cache: no stale read in 20,000, and the same races find what others, and mutants, do wrong."""

from __future__ import annotations

import pytest

from tests.simulation.race_server import TEXTS
from tests.simulation.races import RACES_PER_HISTORY, cache_aside, crowded_cache, own_cache, race

pytestmark = pytest.mark.no_cover

HISTORIES = 400
PARTS = 4
SEARCHED = 300
"""Histories in which a mutant has to be noticed, if that in which it was noticed first does not do so any more."""

MUTANTS = {
    "fills need no lease": (0, "if holder ~= token or not is_storable then", "if not is_storable then"),
    "leases do not name their sequence": (50, "token .. string.format('%012d', sequence)", "token .. '000000000000'"),
    "fills do not look at the clock": (0, "if holder ~= token or not is_storable then", "if holder ~= token then"),
    "invalidating a key leaves the lease": (8, "redis.call('DEL', lease, permit)", "redis.call('DEL', permit)"),
    "a set needs no permit": (14, "redis.call('GET', permit) ~= token", "false"),
    "permits do not name their sequence": (267, "token .. string.format('%012d', sequence)\nredis", "token\nredis"),
    "a permit to replace leaves a lease": (4, "if not is_hold then redis.call('DEL', lease) end", ""),
    "a set does not look at the clock": (
        13,
        "not is_storable or redis.call('GET', permit)",
        "redis.call('GET', permit)",
    ),
    "a lost clock gets its epoch back": (
        7,
        "local epoch = string.format('%011x', now_ms) .. string.sub(token, 1, 5)",
        "local epoch = 'eeeeeeeeeeeeeeee'",
    ),
    "every primary has one name": (0, "string.format('%-16.16s', ARGV[2])", "'ffffffffffffffff'"),
    "loads in progress are not barred": (23, "and barred <= tonumber(string.sub(envelope, 69, 80))", ""),
    "a write needs no lease": (28, "holder == token and not is_hold and is_storable", "not is_hold and is_storable"),
    "a write does not look at the clock": (6, "token and not is_hold and is_storable", "token and not is_hold"),
    "a write leaves permits": (10, "redis.call('DEL', permit)\nif not is_hold", "if not is_hold"),
    "a write is no step of the clock": (
        94,
        "sequence = redis.call('HINCRBY', clock_key, 's', 1)\nredis",
        "sequence = 0\nredis",
    ),
    "a write that is refused leaves the entry": (8, "redis.call('UNLINK', entry)\nreturn {0}", "return {0}"),
    "marks are forgotten without a floor": (168, "if youngest > covered then", "if false then"),
}


@pytest.mark.parametrize("part", range(PARTS))
def test_no_random_race_returns_an_invalidated_value(part: int):
    """P6: 20,000 races, with restarts from old snapshots, flushes, failovers that lose writes, and clocks that step."""
    tally = race(range(part, HISTORIES, PARTS), own_cache)

    assert tally.traces == []
    assert tally.stale == 0
    assert tally.races == HISTORIES // PARTS * RACES_PER_HISTORY == 5_000
    assert min(tally.hits, tally.faults, tally.forgotten) > 1_000


def test_looks_that_go_out_together_return_nothing_invalidated():
    """P6: the same races by readers that look at every key at once, whose looks are one call for all of them."""
    tally = race(range(15), crowded_cache)

    assert tally.traces == []
    assert min(tally.hits, tally.faults) > 150


def test_the_races_notice_looks_together_that_do_not_see_the_clock():
    """A script that takes every readable envelope for valid lets some race return an invalidated value."""
    texts = TEXTS | {"cache/look_up": TEXTS["cache/look_up"].replace("if cause ~= 'hit' then", "if not envelope then")}

    assert texts != TEXTS
    assert race(range(5), crowded_cache, texts).stale > 0


def test_the_races_find_stale_reads_of_a_cache_that_is_written_by_hand():
    """Look, else load and store, and delete after a write: some reads return what was deleted before."""
    tally = race(range(10), cache_aside)

    assert tally.races == 500
    assert tally.stale > 20


@pytest.mark.parametrize("name", MUTANTS)
def test_the_races_notice_each_missing_rule(name: str):
    """A script without one of its rules lets some race return an invalidated value."""
    noticed_by, rule, without = MUTANTS[name]
    texts = {script: text.replace(rule, without) for script, text in TEXTS.items()}

    assert texts != TEXTS
    assert any(race([seed], own_cache, texts).stale for seed in (noticed_by, *range(SEARCHED)))
