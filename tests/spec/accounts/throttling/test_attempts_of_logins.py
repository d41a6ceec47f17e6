"""The limits of logins and sign-ups: what is charged, what is given back, and in how many round trips."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from tests import watched
from tests.accounts import ELSEWHERE, HERE, RIGHT, ROTATED_SECRET, WRONG, Setup
from tollhouse.accounts.outcomes import AccountCreated, LoginSucceeded, TooManyAttempts, WrongCredentials
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.limits.policy.notation import parse_policy


@pytest.fixture
def setup(world):
    return Setup(world)


async def test_guesses_are_limited_before_they_cost_a_hash(world, setup):
    """S2-06: the sixth attempt in a minute is refused with the limiter's decision, and computes nothing."""
    await setup.sign_up("ada")
    for _ in range(5):
        assert await setup.login("ada", WRONG) == WrongCredentials()
    computed = setup.hashes_computed

    answer = await setup.login("ada", RIGHT)

    assert isinstance(answer, TooManyAttempts)
    assert answer.decision.policy == "login"
    assert answer.decision.retry_after_ms > 0
    assert setup.hashes_computed == computed
    assert setup.logins("throttled") == 1
    await world.advance(answer.decision.retry_after_ms)
    assert isinstance(await setup.login("ada", RIGHT), LoginSucceeded)


async def test_guesses_from_anywhere_refuse_the_owner(world, setup):
    """Limits per device are not built: five wrong guesses by others refuse the owner, for a minute and a sub-bucket."""
    await setup.sign_up("ada")
    for number in range(5):
        await setup.login("ada", WRONG, address=f"198.51.100.{number}")

    refused = await setup.login("ada", RIGHT, address=HERE)

    assert isinstance(refused, TooManyAttempts)
    assert 60_000 <= refused.decision.retry_after_ms <= 63_750


async def test_limits_do_not_reveal_whether_an_account_exists(world, setup):
    """Known and unknown names are refused after as many attempts, and for as long."""
    await setup.sign_up("ada")
    refusals = []
    for user in ("ada", "nobody"):
        for _ in range(5):
            await setup.login(user, WRONG)
        refusals.append((await setup.login(user, WRONG)).decision)

    known, unknown = refusals
    assert known.retry_after_ms == unknown.retry_after_ms
    assert known.limits == unknown.limits


async def test_guesses_side_by_side_are_counted_like_others(world, setup):
    """Of 50 guesses at once five are verified: attempts are charged before their outcome is known."""
    await setup.sign_up("ada")
    computed = setup.hashes_computed

    answers = await asyncio.gather(*(setup.login("ada", WRONG, address=f"198.51.100.{i}") for i in range(50)))

    assert answers.count(WrongCredentials()) == 5
    assert setup.hashes_computed - computed == 5


async def test_a_login_resets_the_limit_of_the_account(world, setup):
    """After the right password the account's limit begins anew."""
    await setup.sign_up("ada")
    for _ in range(3):
        for _ in range(4):
            await setup.login("ada", WRONG)
        assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_a_login_refunds_its_attempt_to_the_address(world, setup):
    """Right logins from one address, such as an office, use up nothing of what guesses from there share."""
    await setup.sign_up("ada")
    for number in range(29):
        await setup.login(f"user-{number}", WRONG)

    answers = [await setup.login("ada") for _ in range(3)]

    assert all(isinstance(one, LoginSucceeded) for one in answers)
    assert await setup.login("nobody", WRONG) == WrongCredentials()
    assert isinstance(await setup.login("ada"), TooManyAttempts)


class Rounds:
    """Stores whose calls tell which other calls had ended before they began: calls of one round overlap."""

    def __init__(self, stores):
        self.scripts = defaultdict(set)
        self.accounts, self.limits, self.sessions = (
            RoundsOfStore(self, store) for store in (stores.accounts, stores.limits, stores.sessions)
        )
        self.ended = 0

    async def count(self, script, call):
        number = self.ended + 1
        self.scripts[number].add(script)
        # The other calls of the round have several steps of their own before they reach their store.
        for _ in range(5):
            await asyncio.sleep(0)
        try:
            return await call
        finally:
            self.ended = max(self.ended, number)


class RoundsOfStore:
    def __init__(self, rounds, store):
        self.rounds = rounds
        self.store = store
        self.failure = None

    async def run(self, script, names, args):
        return await self.rounds.count(script, self._reply(self.store.run(script, names, args)))

    async def run_durably(self, script, names, args):
        return await self.rounds.count(script, self._reply(self.store.run_durably(script, names, args)))

    async def _reply(self, call):
        reply = await call
        if self.failure is not None:
            raise self.failure
        return reply


BEGUN_ROUNDS = {
    1: {"accounts/load"},
    2: {"limits/take_all"},
    3: {"limits/reset", "limits/refund", "sessions/create"},
}
LOGIN_ROUNDS = {**BEGUN_ROUNDS, 4: {"accounts/load"}}


async def test_a_login_waits_for_four_round_trips(world, setup):
    """The account is loaded, the limits are taken, the session begins while they are restored, and it is looked at.

    That look is what a change of the account cannot come between.
    """
    await setup.sign_up("ada")
    rounds = Rounds(world.stores)

    answer = await Setup(world, stores=rounds).login("ada")

    assert isinstance(answer, LoginSucceeded)
    assert rounds.scripts == LOGIN_ROUNDS


async def test_a_login_under_several_secrets_waits_for_one_round_trip_more(world, setup):
    """The account is looked up under every secret at the same time; whether the user is disabled is asked first."""
    await setup.sign_up("ada")
    rotated = Keyring(secrets=(*world.keyring.secrets, ROTATED_SECRET))
    rounds = Rounds(world.stores)

    answer = await Setup(world, keyring=rotated, stores=rounds).login("ada")

    assert isinstance(answer, LoginSucceeded)
    assert rounds.scripts == {
        **LOGIN_ROUNDS,
        3: {"limits/reset", "limits/refund", "sessions/status"},
        4: {"sessions/create"},
        5: {"accounts/load"},
    }


async def test_a_refused_login_charges_nothing(world, setup):
    """P2: when the account's limit refuses, the address keeps its attempts; when the address's does, the account."""
    for _ in range(5):
        await setup.login("ada", WRONG)
    for _ in range(30):
        assert isinstance(await setup.login("ada", WRONG), TooManyAttempts)

    assert (await setup.limiter.take("login-address", f"address:{HERE}", 0)).limits[0].remaining == 25
    assert await setup.login("eve", WRONG) == WrongCredentials()


async def test_a_right_password_restores_the_limits_though_no_session_began(world, setup):
    """The limits are restored for the password: a store of sessions that is down raises after that is done."""
    await setup.sign_up("ada")
    for _ in range(4):
        await setup.login("ada", WRONG)
    rounds = Rounds(world.stores)
    rounds.sessions.failure = StoreUnavailable("sessions", "ambiguous", "it is down")

    with pytest.raises(StoreUnavailable):
        await Setup(world, stores=rounds).login("ada")

    assert rounds.scripts == BEGUN_ROUNDS
    assert (await setup.limiter.take("login", "account:ada", 0)).limits[0].remaining == 5
    assert (await setup.limiter.take("login-address", f"address:{HERE}", 0)).limits[0].remaining == 26


async def test_limits_that_go_down_during_a_login_refuse_no_login(world, setup):
    """P8: the session begins although the limits can no longer be restored."""
    await setup.sign_up("ada")
    rounds = Rounds(world.stores)
    ours = Setup(world, stores=rounds)
    taken = await ours.limiter.take("login", "account:ada", 0)
    rounds.limits.failure = StoreUnavailable("limits", "ambiguous", "it is down")

    assert taken.allowed
    assert isinstance(await ours.login("ada"), LoginSucceeded)


async def test_limits_that_are_down_refuse_no_login(world, setup):
    """P8: while the store of limits is down a right password logs in, and guesses are still counted."""
    await setup.sign_up("ada")
    store = watched.WatchedStore(world.stores.limits)
    store.fail()
    ours = Setup(world, limiter=Limiter(store, BUILT_IN, world.keyring, world.metrics))

    right = await ours.login("ada")
    wrong = [await ours.login("eve", WRONG) for _ in range(6)]

    assert isinstance(right, LoginSucceeded)
    assert wrong[:5] == [WrongCredentials()] * 5
    assert isinstance(wrong[5], TooManyAttempts)


@pytest.fixture
def caching(world):
    """A limiter that caches refusals and believes to be subscribed to the announcements, as in the service."""
    caching = watched.Setup(world, *BUILT_IN.values(), refusals_max=100)
    caching.limits.refusals.on_subscribed()
    caching.clock.advance(1)
    return caching


async def refused_logins(setup, many=3):
    """Return the policy and the wait of as many logins for one account from one address, all of which are refused."""
    answers = [await setup.login("ada", WRONG) for _ in range(many)]
    return [(one.decision.policy, one.decision.retry_after_ms) for one in answers]


async def test_a_flood_on_a_refused_account_costs_the_store_nothing(world, caching):
    """After its first refusal an account is refused without a call, with its own wait; after the wait it is not."""
    setup = Setup(world, limiter=caching.limits)
    for _ in range(5):
        await setup.login("ada", WRONG)
    ((policy, wait_ms),) = await refused_logins(setup, 1)
    caching.store.calls.clear()

    await caching.pass_ms(1_000)

    assert await refused_logins(setup) == [(policy, wait_ms - 1_000)] * 3
    assert caching.store.calls == []
    assert (setup.logins("throttled"), caching.counted("login", "refused")) == (4, 4)
    await caching.pass_ms(wait_ms - 1_000)
    assert await setup.login("ada", WRONG) == WrongCredentials()


async def test_a_flood_from_a_refused_address_costs_the_store_nothing(world, caching):
    """After its first refusal an address is refused without a call, whichever accounts it tries."""
    setup = Setup(world, limiter=caching.limits)
    for number in range(31):
        await setup.login(f"user-{number}")
    caching.store.calls.clear()

    answers = [await setup.login(f"user-{number}") for number in range(25, 35)]

    assert {one.decision.policy for one in answers} == {"login-address"}
    assert caching.store.calls == []
    assert await setup.login("user-31", address=ELSEWHERE) == WrongCredentials()


async def test_a_reset_ends_the_cached_refusal_of_an_account(world, caching):
    """After the limit of an account is reset, the store decides its next login."""
    setup = Setup(world, limiter=caching.limits)
    for _ in range(6):
        await setup.login("ada", WRONG)

    await caching.limits.reset("login", "account:ada")

    assert await setup.login("ada", WRONG) == WrongCredentials()


async def test_another_process_asks_the_store_once(world, caching):
    """Each process caches the refusals that the store gave to it."""
    for _ in range(6):
        await Setup(world).login("ada", WRONG)

    refused = await refused_logins(Setup(world, limiter=caching.limits))

    assert len(set(refused)) == 1
    assert caching.store.scripts == ["limits/take_all"]


async def test_shadows_of_the_login_limits_count_every_attempt(world):
    """A shadow of `login` counts attempts beside the joint call, and those that `login` refuses as well."""
    shadow = parse_policy("login-next", "8/minute", shadow_of="login")
    rounds = Rounds(world.stores)
    policies = {**BUILT_IN, shadow.name: shadow}
    setup = Setup(world, limiter=Limiter(rounds.limits, policies, world.keyring, world.metrics))

    for _ in range(10):
        await setup.login("ada", WRONG)

    counted = "tollhouse_ratelimit_decisions_total"
    assert setup.sample(counted, policy="login-next", outcome="allowed") == 8
    assert setup.sample(counted, policy="login-next", outcome="shadow-refused") == 2
    assert list(rounds.scripts.values()) == [{"limits/take_all", "limits/take"}] * 10


async def test_an_address_is_limited_over_all_accounts(world, setup):
    """The 31st attempt of one address in five minutes is refused, whichever accounts it tried."""
    for number in range(30):
        assert await setup.login(f"user-{number}") == WrongCredentials()

    refused = await setup.login("user-31")

    assert refused.decision.policy == "login-address"
    assert await setup.login("user-31", address=ELSEWHERE) == WrongCredentials()


async def test_a_refused_address_charges_no_account(world, setup):
    """An address that is refused charges no account, so it cannot keep an owner out from then on."""
    await setup.sign_up("ada")
    for number in range(30):
        await setup.login(f"user-{number}")

    for _ in range(10):
        await setup.login("ada", WRONG)

    assert isinstance(await setup.login("ada", address=ELSEWHERE), LoginSucceeded)


async def test_sign_ups_of_one_address_are_limited(world, setup):
    """The 21st sign-up of an hour is refused before any hash, also when the name is taken."""
    for _ in range(20):
        await setup.sign_up("ada")
    computed = setup.hashes_computed

    answer = await setup.sign_up("eve")

    assert isinstance(answer, TooManyAttempts)
    assert answer.decision.policy == "signup"
    assert setup.hashes_computed == computed
    assert isinstance(await setup.sign_up("eve", address=ELSEWHERE), AccountCreated)
