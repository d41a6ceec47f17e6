"""The keys that cost most: the time of the loads that their misses caused, in a bounded number of counters.

The sketch is Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k Elements in Data
Streams", ICDT 2005), with times as weights. A key without a counter takes over the smallest one, and what that counted
is the most by which the key may be overestimated. So a key whose share of the cost is above that of one counter always
has one. What is sure of a key's cost decides its rank. Counters are halved now and then, so that the past fades.

It is in the memory of this process alone. It keeps the loader of each key alive that has a counter.
"""

from __future__ import annotations

from typing import Final

from tollhouse.cache.reading.query import Query

COUNTERS_MIN: Final = 64
_COUNTERS_PER_KEY: Final = 8


class CostlyKey:
    """A key that has a counter, with its latest read."""

    __slots__ = ("cost_ms", "load_ms", "overestimate_ms", "query", "read_ms")

    def __init__(self, query: Query, overestimate_ms: int, read_ms: int) -> None:
        self.query = query
        self.cost_ms = self.overestimate_ms = overestimate_ms
        self.load_ms = 0
        self.read_ms = read_ms

    @property
    def sure_ms(self) -> int:
        """The cost that is certain."""
        return self.cost_ms - self.overestimate_ms


class CostlyKeys:
    """The counters of one family, enough to find its `top` keys."""

    def __init__(self, top: int) -> None:
        self._counters_max = max(_COUNTERS_PER_KEY * top, COUNTERS_MIN)
        self._keys: dict[str, CostlyKey] = {}

    def read(self, query: Query, now_ms: int) -> None:
        """Note a read of a key that has a counter; its latest loader is the one that is kept."""
        key = self._keys.get(query.entry.digest)
        if key is not None:
            key.query, key.read_ms = query, now_ms

    def loaded(self, query: Query, load_ms: int, now_ms: int) -> None:
        """Add the time of a load that a miss caused."""
        key = self._keys.get(query.entry.digest) or self._new_key(query, now_ms)
        self.read(query, now_ms)
        self.add(key, load_ms)

    def add(self, key: CostlyKey, load_ms: int) -> None:
        """Add the time of a load; one that took no measurable time counts as a millisecond."""
        key.load_ms = load_ms
        key.cost_ms += max(load_ms, 1)

    def top(self, count: int) -> list[CostlyKey]:
        """Return the keys that cost most, the costliest first."""
        return sorted(self._keys.values(), key=lambda key: key.sure_ms, reverse=True)[:count]

    def forget(self, key: CostlyKey) -> None:
        """Free the counter of a key."""
        self._keys.pop(key.query.entry.digest, None)

    def fade(self) -> None:
        """Halve all counters."""
        for key in self._keys.values():
            key.cost_ms //= 2
            key.overestimate_ms //= 2

    def _new_key(self, query: Query, now_ms: int) -> CostlyKey:
        overestimate_ms = 0
        if len(self._keys) >= self._counters_max:
            smallest = min(self._keys.values(), key=lambda key: key.cost_ms)
            overestimate_ms = smallest.cost_ms
            self.forget(smallest)
        key = self._keys[query.entry.digest] = CostlyKey(query, overestimate_ms, now_ms)
        return key
