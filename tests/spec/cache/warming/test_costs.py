"""The counters of costly keys: bounded, and no key with a large share of the cost is missing."""

from __future__ import annotations

import random
from collections import Counter

from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.reading.query import Query
from tollhouse.cache.warming.costs import COUNTERS_MIN, CostlyKeys
from tollhouse.keyring import Keyring
from tollhouse.keys import PREFIX

NAMES = KeyNames(Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), PREFIX)


async def _load() -> None:
    return None


def query(key: str) -> Query:
    entry = NAMES.entries(key)[0]
    return Query(entry=entry, family="row", load=_load, tags_of=lambda _: (), ttl_ms=1_000, none_ttl_ms=None, jitter=0)


def test_a_key_costs_its_misses_times_the_time_of_its_loads():
    """S4-62: three misses of 10 ms cost as much as one of 30; a load too short to be measured costs a millisecond."""
    keys = CostlyKeys(2)
    for key, load_ms in (("often", 10), ("often", 10), ("often", 11), ("slow", 30), ("cheap", 0)):
        keys.loaded(query(key), load_ms, 0)

    assert [(key.query.entry, key.sure_ms) for key in keys.top(3)] == [
        (query("often").entry, 31),
        (query("slow").entry, 30),
        (query("cheap").entry, 1),
    ]
    assert len(keys.top(2)) == 2


def test_a_key_with_more_than_the_share_of_a_counter_has_one():
    """Space-Saving: of any stream, no key is lost that costs more than the whole divided by the counters."""
    rng = random.Random(7)
    costs: Counter[str] = Counter()
    keys = CostlyKeys(1)
    for _ in range(5_000):
        key = f"k{min(int(rng.expovariate(0.02)), 500)}"
        load_ms = rng.randint(1, 20)
        costs[key] += load_ms
        keys.loaded(query(key), load_ms, 0)

    found = {key.query.entry.digest: key for key in keys.top(1_000)}

    assert len(found) == COUNTERS_MIN
    for key, cost_ms in costs.items():
        counter = found.get(query(key).entry.digest)
        assert counter is not None or cost_ms <= sum(costs.values()) / COUNTERS_MIN
        assert counter is None or counter.sure_ms <= cost_ms <= counter.cost_ms


def test_the_past_fades():
    """A key that was costly is overtaken by one that is now."""
    keys = CostlyKeys(1)
    keys.loaded(query("before"), 100, 0)
    keys.fade()
    keys.loaded(query("now"), 60, 0)

    assert keys.top(1)[0].query.entry == query("now").entry


def test_a_read_is_noted_of_keys_with_a_counter_alone():
    """A hit of a key that never missed here takes no memory."""
    keys = CostlyKeys(1)
    keys.loaded(query("known"), 5, 1)

    keys.read(query("known"), 7)
    keys.read(query("unknown"), 7)

    assert [key.read_ms for key in keys.top(9)] == [7]
    keys.forget(keys.top(1)[0])
    assert keys.top(9) == []
