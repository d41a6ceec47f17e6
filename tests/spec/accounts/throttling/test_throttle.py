"""Guesses at passwords: what is refused, whom that spares, and in how many round trips."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from tests import watched
from tests.accounts import ELSEWHERE, HERE, RIGHT, ROTATED_SECRET, WRONG, Setup, throttle_on
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import AttemptThrottled, LoginSucceeded, PasswordConfirmed, WrongCredentials
from tollhouse.accounts.throttling.throttle import Guess
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.settings.throttle import ThrottleSettings

DAY_MS = 86_400_000
ALL_MS = 15 * 60_000


@pytest.fixture
async def setup(world):
    """Accounts of which `ada` has one."""
    setup = Setup(world)
    await setup.sign_up("ada")
    return setup


async def device_of(setup, user="ada"):
    """Log in, and return what makes the client a trusted device from then on."""
    return (await setup.login(user)).device.reveal()


async def fail(setup, times, user="ada", address=HERE, **options):
    """Guess as soon as it may be, so many times, from ever other addresses unless one is given."""
    for number in range(times):
        at = f"198.51.{number // 250}.{number % 250}" if address is None else address
        answer = await setup.login(user, WRONG, address=at, **options)
        if isinstance(answer, AttemptThrottled):
            await setup.world.advance(answer.retry_after_ms)
            answer = await setup.login(user, WRONG, address=at, **options)
        assert answer == WrongCredentials()


async def test_a_device_is_known_by_its_signature_without_a_store(setup):
    """A client is known by a device of the account, or by a live session; not by one of another account."""
    login = await setup.login("ada")
    device = LoginClient(address=HERE, device_token=login.device.reveal())
    known, here = setup.throttle.is_known_device, LoginClient(address=HERE)

    assert known("ada", device)
    assert known("ada", LoginClient(address=HERE, session=login.issued.session))
    assert not known("eve", device)
    assert not known("ada", here)


@pytest.mark.asvs("6.3.1")
async def test_guesses_wait_before_they_cost_a_hash(world, setup):
    """S2-06: after five failures the sixth waits a second, to the millisecond, and a refusal computes nothing."""
    await fail(setup, 5)
    computed = setup.hashes_computed

    refused = await setup.login("ada", RIGHT)

    assert refused == AttemptThrottled(retry_after_ms=1_000)
    assert setup.hashes_computed == computed
    assert setup.logins("throttled") == 1
    await world.advance(999)
    assert await setup.login("ada", RIGHT) == AttemptThrottled(retry_after_ms=1)
    await world.advance(1)
    assert isinstance(await setup.login("ada", RIGHT), LoginSucceeded)


@pytest.mark.asvs("6.1.1", "6.3.1")
async def test_no_guesses_of_others_refuse_an_owner_with_a_device(world, setup):
    """Account, address, site and all together are used up by others: the owner's device logs in all the same."""
    here = "2001:db8:1:2::/64"
    device = await device_of(setup)
    await fail(setup, 99, address=None)
    tight = Setup(world, throttling=ThrottleSettings(all_failures=1, address_failures=1, network_factor=1))
    await tight.login("eve", WRONG, address=here)
    assert isinstance(await tight.login("bob", RIGHT, address=here), AttemptThrottled)

    answer = await tight.login("ada", address=here, device_token=device)

    assert isinstance(answer, LoginSucceeded)


@pytest.mark.asvs("6.1.1")
async def test_at_a_hundred_failures_a_password_is_good_on_trusted_devices_alone(world, setup):
    """NIST SP 800-63B-4, 3.2.2: no time ends that, a trusted device does; the answer is a wait like any other."""
    device = await device_of(setup)
    await fail(setup, 100, address=None)
    await world.advance(30 * DAY_MS)

    assert await setup.login("ada", address=ELSEWHERE) == AttemptThrottled(retry_after_ms=ALL_MS)
    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)
    assert isinstance(await setup.login("ada", address=ELSEWHERE), LoginSucceeded)


async def test_a_way_in_without_the_password_ends_its_failures(world, setup):
    """A reset of the password makes it good for every client at once, a passkey after the waits."""
    for another_way, wait_ms in ((setup.throttle.restore, 0), (setup.throttle.end_row, ALL_MS)):
        await fail(setup, 100, address=None)
        assert isinstance(await setup.login("ada"), AttemptThrottled)

        await another_way("ada")

        refused = await setup.login("ada") if wait_ms else None
        assert refused == (AttemptThrottled(retry_after_ms=wait_ms) if wait_ms else None)
        await world.advance(wait_ms)
        assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_logins_of_an_owner_give_guessers_no_more_guesses(world, setup):
    """A trusted device ends the row of the account, and the waits of other clients double as if it had not."""
    device = await device_of(setup)
    await fail(setup, 5)
    for number in range(8):
        assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)
        assert await setup.login("ada", WRONG, address=ELSEWHERE) == AttemptThrottled(retry_after_ms=1000 * 2**number)
        await world.advance(1000 * 2**number)
        assert await setup.login("ada", WRONG, address=ELSEWHERE) == WrongCredentials()


async def test_an_attempt_after_the_end_of_a_row_is_uncounted_alone(world, setup):
    """One that made no guess takes neither the recent failures before it along, nor their waits."""
    device = await device_of(setup)
    await fail(setup, 4)
    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)
    reservation = await setup.throttle.begin("password", "ada", LoginClient(address=HERE))
    assert isinstance(reservation, Guess)

    await setup.throttle.settle(reservation)

    assert await setup.login("ada", WRONG) == WrongCredentials()
    assert await setup.login("ada", WRONG) == AttemptThrottled(retry_after_ms=1000)


async def test_a_device_has_ten_failures_of_its_own(world, setup):
    """They count for no one else; then the device is as good as none, until fifteen minutes after the last."""
    device = await device_of(setup)
    await fail(setup, 10, device_token=device)
    assert await setup.failures() == (0, 0)

    await fail(setup, 5, device_token=device)
    assert await setup.failures() == (5, 5)
    assert isinstance(await setup.login("ada", device_token=device), AttemptThrottled)

    await world.advance(ALL_MS)
    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)


async def test_a_device_that_failed_a_hundred_times_is_none_for_good(world, setup):
    """One who has a copy of a device's value has a hundred guesses, however slow they are."""
    device = await device_of(setup)
    for _ in range(10):
        await fail(setup, 10, device_token=device)
        await world.advance(ALL_MS)

    await fail(setup, 5, device_token=device)

    assert (await setup.failures())[0] == 5


async def test_a_device_of_one_account_is_nothing_for_another(setup):
    """With it an attacker, who has an account too, is counted as without."""
    await setup.sign_up("eve")
    device = await device_of(setup, "eve")

    await fail(setup, 5, device_token=device)

    assert isinstance(await setup.login("ada", device_token=device), AttemptThrottled)


async def test_a_device_is_trusted_for_180_days(world, setup):
    """After that it is as good as none; each login makes it a new one."""
    device = await device_of(setup)
    await fail(setup, 5)
    await world.advance(180 * DAY_MS - 1)
    await fail(setup, 5)
    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)
    await fail(setup, 5)
    await world.advance(1)

    await fail(setup, 5)

    assert isinstance(await setup.login("ada", device_token=device), AttemptThrottled)


async def test_a_change_of_the_password_ends_the_trust_in_devices(world, setup):
    """Those that were issued until then are none; a login afterwards makes another one."""
    device = await device_of(setup)
    await setup.throttle.end_trust("ada")
    await fail(setup, 5, device_token=device)
    assert isinstance(await setup.login("ada", device_token=device), AttemptThrottled)

    await world.advance(1_000)
    device = await device_of(setup)
    await fail(setup, 5)

    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)


async def test_a_session_counts_its_own_failures_alone(world, setup):
    """Others who guess at the account keep its user from nothing, nor do the user's failures count for them."""
    token = (await setup.login("ada")).issued.token
    await fail(setup, 5, address=None)
    for _ in range(9):
        assert await setup.accounts.reauthenticate(token, WRONG, address=HERE) == WrongCredentials()
    assert (await setup.failures())[0] == 5

    answer = await setup.accounts.reauthenticate(token, RIGHT, address=HERE)

    assert isinstance(answer, PasswordConfirmed)
    assert (await setup.failures())[0] == 0


async def test_a_stolen_session_gives_ten_guesses_and_then_those_of_any_client(setup):
    """After ten wrong passwords in a session its guesses count for the account."""
    token = (await setup.login("ada")).issued.token
    for _ in range(15):
        assert await setup.accounts.reauthenticate(token, WRONG, address=HERE) == WrongCredentials()

    assert isinstance(await setup.accounts.reauthenticate(token, RIGHT, address=HERE), AttemptThrottled)


async def test_refusals_do_not_reveal_whether_an_account_exists(world, setup):
    """Known and unknown names are refused after as many attempts, and for as long, also after a hundred."""
    answers = []
    for user in ("ada", "nobody"):
        await fail(setup, 7, user, address=None)
        answers.append([await setup.login(user, RIGHT, address=HERE)])
        await fail(setup, 93, user, address=None)
        await world.advance(DAY_MS)
        answers[-1].append(await setup.login(user, RIGHT, address=HERE))

    assert answers[0] == answers[1] == [AttemptThrottled(retry_after_ms=4_000), AttemptThrottled(retry_after_ms=ALL_MS)]


@pytest.mark.asvs("6.3.1")
async def test_guesses_side_by_side_count_like_guesses_in_a_row(world, setup):
    """Of 200 guesses at once five are verified: attempts are charged before their outcome is known."""
    computed = setup.hashes_computed

    answers = await asyncio.gather(*(setup.login("ada", WRONG, address=f"198.51.100.{i}") for i in range(200)))

    assert answers.count(WrongCredentials()) == 5
    assert setup.hashes_computed - computed == 5


async def test_a_login_begins_the_failures_of_its_account_anew(setup):
    """A success ends the row."""
    for _ in range(3):
        await fail(setup, 4)
        assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_a_login_costs_its_address_nothing(setup):
    """Right logins from one address, such as an office, use up nothing of what guesses from there share."""
    for number in range(29):
        await setup.login(f"user-{number}", WRONG)

    answers = [await setup.login("ada") for _ in range(3)]

    assert all(isinstance(one, LoginSucceeded) for one in answers)
    assert await setup.login("nobody", WRONG) == WrongCredentials()
    assert isinstance(await setup.login("ada"), AttemptThrottled)


@pytest.mark.asvs("6.3.1")
async def test_an_address_is_counted_over_all_accounts(setup):
    """The 31st failure of one address in five minutes is refused, whichever accounts it tried, and charges none."""
    for number in range(30):
        assert await setup.login(f"user-{number}") == WrongCredentials()

    for _ in range(10):
        assert isinstance(await setup.login("ada", WRONG), AttemptThrottled)

    assert await setup.failures() == (0, 30)
    assert isinstance(await setup.login("ada", address=ELSEWHERE), LoginSucceeded)


@pytest.mark.asvs("6.3.1")
async def test_hopping_between_networks_of_one_site_ends_at_eight_times_as_many(setup):
    """One /48 has 240 failures in five minutes, over all of its 65,536 networks of /64."""
    answers = [
        await setup.login(f"user-{number}", WRONG, address=f"2001:db8:1:{number:x}::/64") for number in range(250)
    ]

    assert answers.count(WrongCredentials()) == 240
    assert await setup.login("user", WRONG, address="2001:db8:2:1::/64") == WrongCredentials()


@pytest.mark.asvs("6.1.1", "6.3.1")
async def test_stuffing_reaches_a_hash_for_a_tenth_and_refuses_no_device(world, setup):
    """Of 10,000 accounts over 500 addresses in five minutes a thousand guesses are made; here both a tenth of that."""
    await setup.sign_up("eve")
    devices = {user: await device_of(setup, user) for user in ("ada", "eve")}
    computed = setup.hashes_computed
    small = Setup(world, throttling=ThrottleSettings(all_failures=100))

    answers = [
        await small.login(f"user-{number}", WRONG, address=f"203.0.113.{number % 50}") for number in range(1_000)
    ]
    owners = [await small.login(user, device_token=device) for user, device in devices.items()]

    assert answers.count(WrongCredentials()) == 100
    assert all(isinstance(one, LoginSucceeded) for one in owners)
    assert setup.hashes_computed - computed == 102


async def test_factors_are_counted_apart(world, setup):
    """Five wrong codes wait fifteen minutes, and neither recovery codes nor passwords have failures for it."""
    client = LoginClient(address=HERE)
    for _ in range(5):
        attempt = await setup.throttle.begin("totp", "ada", client)
        attempt.on_begin()
        await setup.throttle.settle(attempt)

    assert await setup.throttle.begin("totp", "ada", client) == AttemptThrottled(retry_after_ms=ALL_MS)
    attempt = await setup.throttle.begin("recovery", "ada", client)
    assert isinstance(attempt, Guess)
    assert not attempt.trusted
    assert isinstance(await setup.login("ada"), LoginSucceeded)
    await world.advance(ALL_MS)
    assert isinstance(await setup.throttle.begin("totp", "ada", client), Guess)


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


LOGIN_ROUNDS = {
    1: {"accounts/load"},
    2: {"limits/begin_guess"},
    3: {"limits/settle_guess", "sessions/create"},
}


async def test_a_login_waits_for_four_round_trips(world, setup):
    """Between two looks at the account all counts are charged, and the session begins while that is undone."""
    rounds = Rounds(world.stores)

    answer = await Setup(world, stores=rounds).login("ada")

    assert isinstance(answer, LoginSucceeded)
    assert rounds.scripts == {**LOGIN_ROUNDS, 4: {"accounts/load"}}


async def test_a_login_under_several_secrets_waits_for_one_round_trip_more(world, setup):
    """The account is looked up under every secret at the same time; whether the user is disabled is asked first."""
    rotated = Keyring(secrets=(*world.keyring.secrets, ROTATED_SECRET))
    rounds = Rounds(world.stores)

    answer = await Setup(world, keyring=rotated, stores=rounds).login("ada")

    assert isinstance(answer, LoginSucceeded)
    assert rounds.scripts == {
        **LOGIN_ROUNDS,
        3: {"limits/settle_guess", "sessions/status"},
        4: {"sessions/create"},
        5: {"accounts/load"},
    }


async def test_a_right_password_ends_the_failures_though_no_session_began(world, setup):
    """They end for the password: a store of sessions that is down raises after that is done."""
    await fail(setup, 4)
    rounds = Rounds(world.stores)
    rounds.sessions.failure = StoreUnavailable("sessions", "ambiguous", "it is down")

    with pytest.raises(StoreUnavailable):
        await Setup(world, stores=rounds).login("ada")

    assert rounds.scripts == LOGIN_ROUNDS
    assert await setup.failures() == (0, 4)


async def test_a_store_of_limits_that_goes_down_during_a_login_refuses_it_not(world, setup):
    """P8: the session begins although the attempt can no longer be uncounted."""
    rounds = Rounds(world.stores)
    rounds.limits.failure = StoreUnavailable("limits", "ambiguous", "it is down")

    answer = await Setup(world, stores=rounds).login("ada")

    assert isinstance(answer, LoginSucceeded)


async def test_each_process_counts_while_the_store_of_limits_is_down(world, setup):
    """P8: by the same rules, from nothing: a right password logs in, guesses are refused, devices are trusted."""
    device = await device_of(setup)
    store = watched.WatchedStore(world.stores.limits)
    store.fail()
    setup.accounts._login._check._throttle = setup.throttle = throttle_on(world, store)

    assert isinstance(await setup.login("ada"), LoginSucceeded)
    await fail(setup, 6)
    assert await setup.login("ada") == AttemptThrottled(retry_after_ms=2_000)
    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)
    store.heal()
    await fail(setup, 5)
    assert await setup.login("ada") == AttemptThrottled(retry_after_ms=1_000)


@pytest.fixture
def flooded(world, setup):
    """Accounts whose calls to the store of limits are watched."""
    store = watched.WatchedStore(world.stores.limits)
    setup.accounts._login._check._throttle = setup.throttle = throttle_on(world, store)
    setup.store = store
    return setup


async def test_a_flood_on_a_refused_account_costs_the_store_one_call_a_second(world, flooded):
    """After its first refusal an account is refused without a call, with its own wait, for a second at a time."""
    await fail(flooded, 9)
    flooded.store.calls.clear()

    answers = []
    for _ in range(10):
        answers += [await flooded.login("ada", WRONG) for _ in range(10)]
        await world.advance(100)

    assert answers == [AttemptThrottled(retry_after_ms=16_000 - 100 * (number // 10)) for number in range(100)]
    assert flooded.store.scripts == ["limits/begin_guess"]
    assert isinstance(await flooded.login("ada", WRONG), AttemptThrottled)
    assert flooded.store.scripts == ["limits/begin_guess"] * 2


async def test_a_flood_from_a_refused_address_costs_the_store_one_call_a_second(flooded):
    """Whichever accounts it tries; another address is asked for, and a trusted device too."""
    device = await device_of(flooded)
    for number in range(31):
        await flooded.login(f"user-{number}")
    flooded.store.calls.clear()

    answers = [await flooded.login(f"user-{number}") for number in range(25, 35)]

    assert all(isinstance(one, AttemptThrottled) for one in answers)
    assert flooded.store.calls == []
    assert await flooded.login("user-31", address=ELSEWHERE) == WrongCredentials()
    assert isinstance(await flooded.login("ada", device_token=device), LoginSucceeded)


async def test_a_success_ends_what_its_process_remembers(flooded):
    """The owner resets the password: that ends the failures of the account, and other clients are admitted at once."""
    await fail(flooded, 8)
    assert isinstance(await flooded.login("ada"), AttemptThrottled)

    await flooded.throttle.restore("ada")

    assert await flooded.login("ada", WRONG) == WrongCredentials()


async def test_a_flood_with_a_device_that_is_not_trusted_costs_as_little(flooded):
    """Its own failures made it as good as none, which its process remembers too."""
    device = await device_of(flooded)
    await fail(flooded, 15, device_token=device)
    assert isinstance(await flooded.login("ada", WRONG, device_token=device), AttemptThrottled)
    flooded.store.calls.clear()

    assert isinstance(await flooded.login("ada", WRONG, device_token=device), AttemptThrottled)
    assert flooded.store.calls == []


async def test_outcomes_are_counted(setup):
    """The metric says what refused, and not whom."""
    device = await device_of(setup)
    await setup.login("ada", device_token=device)
    await fail(setup, 5)
    await setup.login("ada")
    await setup.login("ada")

    def counted(outcome):
        return setup.sample("tollhouse_throttle_attempts_total", factor="password", outcome=outcome)

    found = {outcome: counted(outcome) for outcome in ("admitted", "trusted", "account", "repeated")}
    assert found == {"admitted": 6, "trusted": 1, "account": 1, "repeated": 1}


async def test_what_a_process_remembers_of_refusals_ends_with_forget(flooded):
    """Until then an attempt that asks for its charge is refused without a call, too."""
    await fail(flooded, 9)
    await flooded.login("ada", WRONG)
    flooded.store.calls.clear()
    guess = "password", "ada", LoginClient(address=HERE)

    assert isinstance(await flooded.throttle.begin(*guess), AttemptThrottled)
    assert flooded.store.scripts == []
    flooded.throttle.forget()
    assert isinstance(await flooded.throttle.begin(*guess), AttemptThrottled)
    assert flooded.store.scripts == ["limits/begin_guess"]


async def test_a_proof_stands_though_the_store_of_limits_is_down(flooded, caplog):
    """That failures stay counted, and devices trusted, is logged and raises nothing."""
    flooded.store.fail()

    await flooded.throttle.restore("ada")
    await flooded.throttle.end_trust("ada")

    logged = [record.message.partition(" reason")[0] for record in caplog.records]
    assert logged == ["failures stay counted", "devices stay trusted"]
