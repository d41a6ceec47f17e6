"""How many connections a worker serves."""

from __future__ import annotations

import pytest

from tollhouse.serving.overload import connections_bound

#   connections_max, descriptors, bound
BOUNDS = [
    (10_000, 1_000_000, 10_000),
    (10_000, 1024, 896),  # the rest is for stores, files and refusals
    (10_000, None, 10_000),
    (5, 1024, 5),
    (10_000, 64, 1),
]


@pytest.mark.parametrize(("connections_max", "descriptors", "bound"), BOUNDS)
def test_a_bound_leaves_descriptors(connections_max: int, descriptors: int | None, bound: int) -> None:
    """A worker serves connections_max, or fewer if it could not open anything else then."""
    assert connections_bound(connections_max, descriptors) == bound
