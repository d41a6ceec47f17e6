"""What tests of an app need: a world with a clock and faults, switches, and the suite for a store of credentials.

Every name here is public and documented. The fixtures of the pytest plugin are in `pytest_tollhouse`.

world              a fake server, its clock and its faults      switches  limits and cache on or off
credential_stores  what a store of credentials has to do
"""

from tollhouse.testing.credential_stores import CredentialStoreConformance
from tollhouse.testing.switches import cache_off, cache_on, limits_off
from tollhouse.testing.world import World

__all__ = ["CredentialStoreConformance", "World", "cache_off", "cache_on", "limits_off"]
