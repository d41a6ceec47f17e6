"""Leases of quota: how many units one gets, for how long, and to which sub-bucket the rest goes back."""

from __future__ import annotations

import pytest

from tests import twins
from tests.worlds import StoreWorld
from tollhouse.limits.algorithms.counters import SubjectState
from tollhouse.limits.algorithms.quota import SLACK_MS, Terms, lease_quota, return_quota
from tollhouse.limits.policy.notation import parse_policy

MINUTE = parse_policy("api", "1000/minute", "sliding-window")
BUCKET_MS = 3_750
"""A sub-bucket of a minute."""
NOW_MS = 1_800_000_000_000
TERMS = Terms(longest_ms=1_000, parts=8, least=16)
PLENTY = 1_000_000


def leased(state: SubjectState, cost: int, now_ms: int = NOW_MS, per_second: int = PLENTY) -> tuple[int, SubjectState]:
    """Return the units of a lease and the state after it."""
    verdict, after = lease_quota(MINUTE, state, cost, now_ms, per_second=per_second, terms=TERMS)
    return verdict.units, after


def remaining(state: SubjectState, now_ms: int = NOW_MS) -> int:
    """Return what another process could take."""
    verdict, _ = lease_quota(MINUTE, state, 0, now_ms, per_second=0, terms=TERMS)
    return verdict.verdict.statuses[0].remaining


#   the cost, the takes expected in a second, and the units leased beside the cost of a key that has 1,000
LEASES = {
    "an eighth of what remains": (1, PLENTY, 124),
    "what is expected": (1, 50, 50),
    "less than is worth it": (1, 15, 0),
    "a look": (0, PLENTY, 0),
    "a cost that leaves little": (900, PLENTY, 0),
    "a cost above the limit": (1_001, PLENTY, 0),
}


@pytest.mark.parametrize(("cost", "per_second", "units"), LEASES.values(), ids=list(LEASES))
def test_a_lease_is_a_part_of_what_remains(cost: int, per_second: int, units: int) -> None:
    """What is leased is charged beside the cost; a refusal charges nothing."""
    given, after = leased(SubjectState(), cost, per_second=per_second)

    assert given == units
    assert remaining(after) == 1_000 - units - (cost if cost <= 1_000 else 0)


def test_a_lease_ends_before_its_sub_bucket() -> None:
    """It lasts for a second at most, and never into the next sub-bucket."""
    late_ms = NOW_MS + BUCKET_MS - 100

    for now_ms, lasts_ms in ((NOW_MS, 1_000), (late_ms, 100 - SLACK_MS)):
        verdict, _ = lease_quota(MINUTE, SubjectState(), 1, now_ms, per_second=PLENTY, terms=TERMS)
        assert verdict.lasts_ms == lasts_ms


def test_a_key_whose_counter_is_ahead_of_the_clock_leases_nothing() -> None:
    """After a step of the clock back, the newest sub-bucket is not the present one."""
    _, ahead = leased(SubjectState(), 1, NOW_MS + BUCKET_MS)

    assert leased(ahead, 1)[0] == 0


@pytest.mark.parametrize(
    ("later_ms", "back"),
    [(0, 124), (BUCKET_MS, 124), (16 * BUCKET_MS, 124), (17 * BUCKET_MS, 0)],
    ids=["the present one", "the one before", "the oldest", "one that is released"],
)
def test_the_rest_goes_back_to_its_own_sub_bucket(later_ms: int, back: int) -> None:
    """Units come back to the sub-bucket in which they were charged, or not at all; units of other sub-buckets stay."""
    _, state = leased(SubjectState(), 1)
    now_ms = NOW_MS + later_ms
    _, state = leased(state, 10, now_ms, per_second=0)

    given, after = return_quota(MINUTE, state, 124, NOW_MS, now_ms)

    assert given == back
    assert remaining(after, now_ms) == 1_000 - 10 - (1 if back else 0)


async def test_the_script_leases_as_its_twin(world: StoreWorld) -> None:
    """A lease, the return of its rest with the next one, and a refusal: the same numbers, and the same counts."""
    key, state = "tollhouse:rate:{a}:api", SubjectState()
    terms = [PLENTY, TERMS.longest_ms, TERMS.parts, TERMS.least]

    for cost, left in ((1, 0), (2, 100), (0, 30), (1_000, 0), (3, 10_000)):
        reply = await twins.ask(world, "limits/lease_quota", key, MINUTE, cost, *terms, left, world.now_ms, "c")
        twin, state = lease_quota(
            MINUTE, state, cost, world.now_ms, per_second=PLENTY, terms=TERMS, left=left, charged_ms=world.now_ms
        )
        foreign, discarded, back, units, at_ms, lasts_ms, *decision = reply

        assert (back, units, at_ms, lasts_ms) == (twin.back, twin.units, world.now_ms, twin.lasts_ms)
        assert twins.answer([foreign, discarded, *decision], [MINUTE]).verdicts[0] == twin.verdict
