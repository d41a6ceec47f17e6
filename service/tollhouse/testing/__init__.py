"""What tests of an app need: a world with a clock to advance, faults, and switches for limits and cache.

Every name here is public and documented. The fixtures of the pytest plugin are in `pytest_tollhouse`.

world     a fake server, its clock and its faults       switches  limits and cache on or off
"""

from tollhouse.testing.switches import cache_off, cache_on, limits_off
from tollhouse.testing.world import World

__all__ = ["World", "cache_off", "cache_on", "limits_off"]
