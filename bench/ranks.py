"""The rank-sum test of Mann and Whitney, and the smallest difference that it finds in samples like these."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist

POWER = 0.9
_TRIALS = 200
_STEPS = 10


def rank_sum_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how probable ranks as unequal as these are if both samples are of one distribution (two-sided).

    Equal values share their rank; the normal approximation is good from about twenty values on.
    """
    count, others = len(one), len(other)
    ranked = sorted([(value, True) for value in one] + [(value, False) for value in other])
    rank_sum, ties, position = 0.0, 0, 0
    while position < len(ranked):
        end = position
        while end < len(ranked) and ranked[end][0] == ranked[position][0]:
            end += 1
        equal = end - position
        rank_sum += (position + 1 + end) / 2 * sum(mine for _, mine in ranked[position:end])
        ties += equal**3 - equal
        position = end
    total = count + others
    variance = count * others / 12 * (total + 1 - ties / (total * (total - 1)))
    distance = abs(rank_sum - count * (total + 1) / 2)
    return 1.0 if variance == 0 else 2 * (1 - NormalDist().cdf(distance / math.sqrt(variance)))


def smallest_found(values: Sequence[float], count: int, alpha: float, seed: int = 0) -> float:
    """Return the shift that the test finds in nine of ten experiments of `count` values each, drawn from `values`.

    It is searched for by trying: draw two samples, add the shift to one, test.
    """
    chance = random.Random(seed)
    low, high = 0.0, max(values) - min(values)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = sum(
            rank_sum_p(chance.choices(values, k=count), [v + middle for v in chance.choices(values, k=count)]) < alpha
            for _ in range(_TRIALS)
        )
        low, high = (low, middle) if found >= POWER * _TRIALS else (middle, high)
    return high
