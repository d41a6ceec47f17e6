"""Accounts: disabled, enabled and deleted, and the sessions that end by it."""

from __future__ import annotations

import pytest

from tests.accounts import ELSEWHERE, RIGHT, WRONG, Setup
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.outcomes import (
    AccountCreated,
    AccountDeleted,
    LoginSucceeded,
    NameTaken,
    NoAccount,
    WrongCredentials,
)
from tollhouse.keys import UNNAMED
from tollhouse.sessions.verbs.step_up import StepUpRefused


@pytest.fixture
def setup(world):
    return Setup(world)


async def token_of(setup, user="ada"):
    return (await setup.login(user)).issued.token


@pytest.mark.asvs("7.4.2")
async def test_a_disabled_account_opens_for_no_factor(setup):
    """All its sessions end, and no login begins another, until it is enabled."""
    await setup.sign_up("ada")
    own = await token_of(setup)

    disabled = await setup.accounts.disable("ada")

    assert disabled.removed == 1
    assert await setup.sessions.verify(own) is None
    assert (await setup.accounts.status("ada")).disabled
    assert await setup.login("ada") == WrongCredentials()
    await setup.accounts.enable("ada")
    assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_a_user_without_an_account_is_disabled_as_sessions_know_users(setup):
    """An application has users of its own, whose names no account can have: another spelling is another user."""
    await setup.sign_up("ada")

    for user in ("Ada", "no account", " spaces "):
        await setup.accounts.disable(user)
        assert await setup.sessions.is_disabled(user)
        await setup.accounts.enable(user)
        assert not await setup.sessions.is_disabled(user)

    assert not (await setup.accounts.status("ada")).disabled


async def test_an_account_that_is_deleted_in_the_middle_is_no_account(world, setup):
    """A disable or a delete that another delete overtakes changes nothing more."""
    await setup.sign_up("ada")
    other = Setup(world)

    class Overtaken(RedisCredentials):
        async def replace(self, before, after):
            await other.accounts.delete_account("ada")
            return await super().replace(before, after)

    class OvertakenLater(RedisCredentials):
        async def delete(self, before):
            await other.credentials.replace(before, before.changed())
            return await super().delete(before)

    given = (world.stores.accounts, world.keyring, world.metrics, UNNAMED)
    setup.credentials = Overtaken(*given)
    setup.accounts = setup.accounts_with()
    await setup.accounts.disable("ada")
    assert await other.accounts.status("ada") is None
    await other.sign_up("ada")
    assert await setup.accounts.delete_account("ada") == NoAccount()

    await other.sign_up("eve")
    setup.credentials = OvertakenLater(*given)
    setup.accounts = setup.accounts_with()
    assert await setup.accounts.delete_account("eve") == NoAccount()
    assert (await other.accounts.status("eve")).disabled


@pytest.mark.asvs("7.4.2")
async def test_a_deleted_account_leaves_no_session(setup):
    """Its name is free, and a sign-up by it makes a new account."""
    await setup.sign_up("ada")
    own = await token_of(setup)

    deleted = await setup.accounts.delete_account("Ada")

    assert isinstance(deleted, AccountDeleted)
    assert (deleted.user, deleted.removed) == ("ada", 1)
    assert await setup.sessions.verify(own) is None
    assert await setup.login("ada") == WrongCredentials()
    assert await setup.accounts.delete_account("ada") == NoAccount()
    assert await setup.accounts.status("ada") is None
    assert isinstance(await setup.sign_up("ada"), AccountCreated)


async def test_users_delete_their_account_by_the_password(setup):
    """A wrong one deletes nothing, nor does a session that is over."""
    await setup.sign_up("ada")
    own = await token_of(setup)
    delete = setup.accounts.delete_own

    assert await delete(own, WRONG, address=ELSEWHERE) == WrongCredentials()
    assert isinstance(await delete(own, RIGHT, address=ELSEWHERE), AccountDeleted)

    assert await delete(own, RIGHT, address=ELSEWHERE) == StepUpRefused(reason="over")


async def test_an_operator_adds_an_account_without_limits(setup):
    """A taken name is refused, in any spelling."""
    made = await setup.accounts.add_account("Ada", RIGHT)

    assert made == AccountCreated(user="ada", durable=made.durable)
    assert await setup.accounts.add_account("ADA", RIGHT) == NameTaken(user="ada")
