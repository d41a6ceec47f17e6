"""What operators do with accounts of others: the factors of a user who has lost all of them are removed."""

from __future__ import annotations

import pytest

from tests.accounts import ELSEWHERE, RIGHT
from tests.factors import Factors
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.factors.outcomes import FactorsRemoved
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import LoginSucceeded, NoAccount, TicketRefused, WrongCredentials
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.keys import UNNAMED

KEYS = tuple(Passkey(id=name, public_key=b"key", sign_count=1, name=name, created_ms=7) for name in ("one", "two"))
REMOVED = FactorsRemoved(user="ada", totp=True, recovery_codes=10, passkeys=2, removed=2, durable=False)


@pytest.fixture
def setup(world):
    return Factors(world)


async def with_everything(setup):
    """Return a session of a user with all kinds of factors."""
    session = await setup.enrolled()
    before = await setup.credentials.load("ada")
    assert await setup.credentials.replace(before, before.changed(passkeys=KEYS, handle="h" * 43)) is not None
    return session


@pytest.mark.asvs("6.5.6")
async def test_lost_factors_are_removed(world, setup):
    """The password alone opens the account then; sessions and tickets of before are over, and nothing else changes."""
    session = await with_everything(setup)
    due = await setup.due()

    removed = await setup.accounts.remove_factors("Ada")

    assert removed == REMOVED
    assert await setup.sessions.list("ada") == ()
    assert await setup.second(due.ticket) == TicketRefused()
    answer = await setup.login("ada", RIGHT)
    assert isinstance(answer, LoginSucceeded)
    assert (answer.issued.session.acr, answer.issued.session.sid != session.sid) == ("aal1", True)
    overview = await setup.accounts.factors.overview("ada")
    assert (overview.totp, overview.recovery_codes_left, overview.passkeys) == (False, 0, 0)
    assert (overview.password, overview.highest_level) == (True, "aal1")
    assert (await setup.credentials.load("ada")).handle == "h" * 43


async def test_no_device_of_before_is_trusted(setup):
    """A thief who has one guesses like any other client."""
    await with_everything(setup)
    token = setup.throttle.new_device("ada", setup.world.now_ms).reveal()
    client = LoginClient(address=ELSEWHERE, device_token=token)

    trusted = []
    for _ in range(2):
        attempt = await setup.throttle.begin("password", "ada", client)
        trusted.append(attempt.trusted)
        await setup.world.advance(1)
        await setup.accounts.remove_factors("ada")

    assert trusted == [True, False]


@pytest.mark.asvs("6.3.7")
async def test_the_user_can_be_told(setup):
    """Each kind of factor that was there has its event, in no session of the user."""
    await with_everything(setup)
    reader = setup.sessions.events(user="ada", kinds=["totp-removed", "passkey-removed"])
    assert (await reader.read()).events == ()

    for _ in range(2):
        await setup.accounts.remove_factors("ada")

    found = [event for _ in range(3) for event in (await reader.read()).events]
    assert [(event.kind, event.sid or "") for event in found] == [
        ("totp-removed", ""),
        ("passkey-removed", ""),
        ("passkey-removed", ""),
    ]


async def test_an_account_without_factors_has_none_removed(setup):
    """Its sessions end all the same, so that a repeated call does no less; a name without an account is none."""
    await setup.sign_up("ada")
    assert isinstance(await setup.login("ada"), LoginSucceeded)

    removed = await setup.accounts.remove_factors("ada")

    assert removed == FactorsRemoved(
        user="ada", totp=False, recovery_codes=0, passkeys=0, removed=1, durable=removed.durable
    )
    assert await setup.accounts.remove_factors("eve") == NoAccount()


async def test_a_disabled_account_stays_disabled(setup):
    """The factors are gone, and it opens when it is enabled."""
    await with_everything(setup)
    await setup.accounts.disable("ada")

    assert isinstance(await setup.accounts.remove_factors("ada"), FactorsRemoved)

    assert await setup.login("ada") == WrongCredentials()
    await setup.accounts.enable("ada")
    assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_what_another_change_added_is_removed_and_counted(world, setup):
    """The answer tells of the factors that were there when they were removed."""
    await setup.enrolled()

    class Overtaken(RedisCredentials):
        async def load(self, user):
            found = await super().load(user)
            if not found.passkeys and found.totp is not None:
                await self.replace(found, found.changed(passkeys=KEYS))
            return found

    setup.credentials = Overtaken(world.stores.accounts, world.keyring, world.metrics, UNNAMED)

    removed = await setup.accounts_with().remove_factors("ada")

    assert (removed.passkeys, (await setup.credentials.load("ada")).passkeys) == (2, ())
