"""What a failed login does is the same for every name: the calls of stores, the hashes, their lane, and the answer."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from tests.accounts import FAST, RIGHT, STRONGER, WRONG, Setup
from tests.spec.accounts.hashing.test_passwords import CountingPool
from tests.spec.accounts.test_accounts import disable, disable_sessions
from tollhouse.accounts.outcomes import AttemptThrottled, WrongCredentials

NAMES = ("known", "unknown", "disabled", "halted")
ADDRESSES = count()


class NotedStore:
    """A store that notes the scripts that it runs in a list that several stores share."""

    def __init__(self, store, notes):
        self.store, self.notes = store, notes

    async def run(self, script, *call, **options):
        self.notes.append(script)
        return await self.store.run(script, *call, **options)

    async def run_durably(self, script, *call, **options):
        self.notes.append(f"{script} durably")
        return await self.store.run_durably(script, *call, **options)


class Noted(Setup):
    """A process that notes its calls and its hashes; it knows what the hashes of former profiles cost."""

    def __init__(self, world, profile=FAST, former=()):
        self.notes = []
        self.counted = CountingPool()
        stores = {
            name: NotedStore(getattr(world.stores, name), self.notes) for name in ("accounts", "limits", "sessions")
        }
        super().__init__(world, profile=profile, pool=self.counted, stores=SimpleNamespace(**stores))
        self.passwords.expect(former)

    async def attempt(self, user, password=WRONG):
        """Return all that an attempt from another address does and answers, without the name."""
        self.notes.clear()
        self.counted.costs.clear()
        self.counted.demands.clear()
        address = f"10.0.{next(ADDRESSES)}.7"
        answer = await self.login(user, password, address=address)
        shown = repr(answer).replace(user, "NAME").replace(address, "ADDRESS")
        return type(answer), shown, tuple(self.notes), tuple(self.counted.costs), tuple(self.counted.demands)


async def signed_up(world):
    """Create the accounts that have the names of their kinds."""
    setup = Setup(world)
    for user in ("known", "disabled", "halted"):
        await setup.sign_up(user)
    await disable(world, "disabled")
    await disable_sessions(world, "halted")


#    what changed since the accounts were made, a process
PROCESSES = [
    ("nothing", lambda world: Noted(world)),
    ("the profile", lambda world: Noted(world, STRONGER, (FAST,))),
]


@pytest.mark.asvs("6.3.8")
@pytest.mark.parametrize("process", [make for _, make in PROCESSES], ids=[what for what, _ in PROCESSES])
async def test_a_wrong_password_does_the_same_for_every_name(world, process):
    """Known, unknown and disabled names get one answer after the same calls, hashes of the same cost, in one lane."""
    await signed_up(world)
    service = process(world)

    attempts = [await service.attempt(user) for user in NAMES]

    assert attempts[0][0] is WrongCredentials
    assert set(attempts) == {attempts[0]}


@pytest.mark.asvs("6.3.8")
async def test_the_right_password_of_a_disabled_account_does_what_a_wrong_one_does(world):
    """The holder of the password of an account that is disabled learns nothing."""
    await signed_up(world)
    service = Noted(world)

    assert await service.attempt("disabled", RIGHT) == await service.attempt("unknown", RIGHT)


@pytest.mark.asvs("6.3.8")
async def test_a_limit_does_the_same_for_every_name(world):
    """The limit of a name refuses after as many guesses, with one answer and the same calls, and without a hash."""
    await signed_up(world)
    service = Noted(world)
    guesses, refusals = [], []

    for user in NAMES:
        attempts = []
        while not attempts or attempts[-1][0] is WrongCredentials:
            attempts.append(await service.attempt(user))
        guesses.append(len(attempts))
        refusals.append(attempts[-1])

    assert refusals[0][0] is AttemptThrottled
    assert refusals[0][3:] == ((), ())
    assert len(set(guesses)) == 1
    assert set(refusals) == {refusals[0]}
