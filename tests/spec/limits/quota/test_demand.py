"""The rate of a key in this process, by which its leases are sized."""

from __future__ import annotations

from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.quota.demand import KEYS_MAX, PERIOD_MS, Demand


def test_a_burst_is_a_rate_over_fifty_milliseconds() -> None:
    """The first units of a key count as if they had come in 50 ms, however close together they came."""
    demand = Demand()

    assert [demand.add("ada", 1, 0) for _ in range(3)] == [20, 40, 60]
    assert demand.add("ada", 1, 50) == 80
    assert demand.add("ada", 1, 100) == 50


def test_a_rate_outlasts_its_period_once() -> None:
    """After a period its rate goes on for the next one, unless that is higher; a key that was idle starts anew."""
    demand = Demand()
    for at_ms in range(0, PERIOD_MS, 5):
        demand.add("ada", 2, at_ms)

    assert demand.add("ada", 2, PERIOD_MS) == 408
    assert demand.add("ada", 2, PERIOD_MS + 100) == 408
    assert demand.add("ada", 98, PERIOD_MS + 100) == 1_000
    assert demand.add("ada", 2, 100 * PERIOD_MS) < 10


def test_a_key_that_rests_has_no_demand() -> None:
    """Until its rest is over no lease of the key is wanted; its units are counted all the same."""
    demand = Demand()
    demand.rest("ada", 100, 0)

    assert [demand.add("ada", 10, at_ms) for at_ms in (0, 99, 100)] == [0, 0, 300]


def test_the_keys_are_bounded() -> None:
    """The key that asked longest ago is forgotten; a rate is never above what a policy may allow."""
    demand = Demand(keys_max=2)
    for key in ("ada", "bob", "ada", "eve"):
        demand.add(key, 10, 0)

    assert [demand.add(key, 10, 0) for key in ("ada", "bob")] == [600, 200]
    assert Demand(KEYS_MAX).add("ada", UNITS_MAX, 0) == UNITS_MAX


def test_all_keys_can_be_forgotten() -> None:
    """After `clear` every key starts anew."""
    demand = Demand()
    demand.add("ada", 10, 0)
    demand.clear()

    assert demand.add("ada", 1, 0) == 20
