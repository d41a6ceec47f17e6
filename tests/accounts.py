"""Accounts on a world, for the specifications of sign-up and login."""

from __future__ import annotations

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.factors.tickets import LoginTickets
from tollhouse.accounts.hashing.argon2id import Profile
from tollhouse.accounts.hashing.costs import HashCosts
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.throttling.charges import rules_of
from tollhouse.accounts.throttling.local_counters import LocalCounters
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.keys import UNNAMED
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings.throttle import ThrottleSettings

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


def throttle_on(world, store=None, keyring=None, settings=None):
    """Return a throttle whose process has the clock of the world."""

    def clock():
        return world.now_ms

    return Throttle(
        world.stores.limits if store is None else store,
        keyring or world.keyring,
        world.metrics,
        rules_of(ThrottleSettings() if settings is None else settings),
        local=LocalCounters(clock=clock),
        clock=clock,
    )


class Setup:
    """Accounts over the stores of a world, and the objects that a specification inspects."""

    def __init__(
        self,
        world,
        *,
        keyring=None,
        profile=FAST,
        pool=None,
        stores=None,
        limiter=None,
        throttling=None,
        costs=False,
    ):
        self.stores = stores = stores or world.stores
        self.keyring = keyring = keyring or world.keyring
        self.world = world
        self.metrics = world.metrics
        self.keyring = keyring
        self.sessions = Sessions(stores.sessions, keyring, world.metrics, POLICIES)
        self.limiter = limiter or Limiter(stores.limits, BUILT_IN, keyring, world.metrics)
        known = HashCosts(stores.accounts, UNNAMED) if costs else None
        self.passwords = Passwords(keyring, world.metrics, profile=profile, pool=pool, costs=known)
        self.throttle = throttle_on(world, stores.limits, keyring, throttling)
        self.credentials = RedisCredentials(stores.accounts, keyring, world.metrics, UNNAMED)
        self.clock = lambda: world.now_ms
        self.accounts = self.accounts_with()

    def accounts_with(self, **options):
        """Return accounts that have other options than the defaults."""
        tickets = LoginTickets(self.stores.accounts, self.keyring, UNNAMED)
        events = AccountEvents(self.stores.sessions, self.keyring, UNNAMED)
        counting = (self.limiter, self.throttle)
        made = (self.credentials, self.sessions, *counting, self.passwords, self.keyring, self.metrics)
        given = (*made, tickets, events)
        return Accounts(*given, wall_ms=self.clock, **options)

    async def sign_up(self, user, password=RIGHT, address=HERE):
        return await self.accounts.sign_up(user, password, address=address)

    async def login(self, user, password=RIGHT, address=HERE, **options):
        return await self.accounts.login(user, password, address=address, **options)

    async def failures(self, name="ada", address=HERE, factor="password"):
        """Return the failures in a row that are stored of an account, and those of an address."""
        keys = self.throttle._charge(factor, name, LoginClient(address=address))
        row = await self.world.command("limits", "HGET", keys.account, "c")
        counts = await self.world.command("limits", "HVALS", keys.windows[0].key)
        return int(row or 0), sum(map(int, counts))

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels) or 0

    @property
    def hashes_computed(self):
        return self.sample("tollhouse_password_hash_duration_seconds_count")

    def logins(self, outcome):
        return self.sample("tollhouse_logins_total", outcome=outcome)
