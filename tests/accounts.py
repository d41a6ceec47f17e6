"""Accounts on a world, for the specifications of sign-up and login."""

from __future__ import annotations

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.hashing.argon2id import Profile
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.keys import UNNAMED
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions

FAST = Profile(memory_kib=8, time_cost=1)
STRONGER = Profile(memory_kib=16, time_cost=1)
RIGHT = "tandem walrus cartwheel"
WRONG = "tandem walrus handstand"
HERE = "203.0.113.7"
ELSEWHERE = "2001:db8:1:2::/64"
HOUR_MS = 3_600_000
POLICIES = {
    "default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS),
    "single": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="refuse"),
    "asking": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="ask"),
}
ROTATED_SECRET = b"the next secret, also 32 bytes or more"


def record(user, phc, key_id, *, revision="r1", pending_ms=0):
    """Return the arguments of `accounts/create`."""
    return [user, phc, key_id, 7, 0, revision, "", pending_ms]


class Setup:
    """Accounts over the stores of a world, and the objects that a specification inspects."""

    def __init__(self, world, *, keyring=None, profile=FAST, pool=None, stores=None, limiter=None):
        stores = stores or world.stores
        keyring = keyring or world.keyring
        self.metrics = world.metrics
        self.sessions = Sessions(stores.sessions, keyring, world.metrics, POLICIES)
        self.limiter = limiter or Limiter(stores.limits, BUILT_IN, keyring, world.metrics)
        self.passwords = Passwords(keyring, world.metrics, profile=profile, pool=pool)
        self.credentials = RedisCredentials(stores.accounts, keyring, world.metrics, UNNAMED)
        self.clock = lambda: world.now_ms
        self.accounts = self.accounts_with()

    def accounts_with(self, **options):
        """Return accounts that have other options than the defaults."""
        given = (self.credentials, self.sessions, self.limiter, self.passwords, self.metrics)
        return Accounts(*given, wall_ms=self.clock, **options)

    async def sign_up(self, user, password=RIGHT, address=HERE):
        return await self.accounts.sign_up(user, password, address=address)

    async def login(self, user, password=RIGHT, address=HERE, **options):
        return await self.accounts.login(user, password, address=address, **options)

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels) or 0

    @property
    def hashes_computed(self):
        return self.sample("tollhouse_password_hash_duration_seconds_count")

    def logins(self, outcome):
        return self.sample("tollhouse_logins_total", outcome=outcome)
