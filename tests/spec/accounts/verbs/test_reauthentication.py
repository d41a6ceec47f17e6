"""Accounts: the password of a session's user, which steps the session up."""

from __future__ import annotations

import pytest

from tests.accounts import ELSEWHERE, HERE, HOUR_MS, RIGHT, WRONG, Setup
from tests.spec.stored import keys_of, records
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.outcomes import AttemptThrottled, PasswordConfirmed, WrongCredentials
from tollhouse.errors import InvalidInput
from tollhouse.sessions.logins import Impersonation, LoginContext, login_text
from tollhouse.sessions.verbs.step_up import StepUpRefused


@pytest.fixture
def setup(world):
    return Setup(world)


async def token_of(setup, user="ada"):
    await setup.sign_up(user)
    return (await setup.login(user)).issued.token


async def test_the_right_password_steps_the_session_up(world, setup):
    """The session has the level and the method of a password, another token, and times that begin anew."""
    token = await token_of(setup)
    await world.advance(HOUR_MS // 2)

    result = await setup.accounts.reauthenticate(token, RIGHT, address=HERE)

    assert isinstance(result, PasswordConfirmed)
    session = result.rotation.session
    assert (session.acr, session.amr, session.authenticated_at) == ("aal1", ("pwd",), world.now_ms)
    assert await setup.sessions.verify(result.rotation.token) == session
    assert await setup.sessions.verify(token) is None
    assert setup.logins("ok") == 2


async def test_a_login_has_the_level_that_a_password_reaches(world, setup):
    """It is the weakest of the levels in use, whatever that is called."""
    setup.accounts = setup.accounts_with(factor_rules=FactorRules(levels=("bronze", "silver")))
    token = await token_of(setup)

    session = await setup.sessions.verify(token)
    result = await setup.accounts.reauthenticate(token, RIGHT, address=HERE)

    assert (session.acr, session.amr) == (result.rotation.session.acr, session.amr) == ("bronze", ("pwd",))


async def test_a_wrong_password_is_counted_for_the_session(world, setup):
    """Ten for the session, then five for the account, with those of logins; the session lives on."""
    token = await token_of(setup)
    for number in range(15):
        assert await setup.accounts.reauthenticate(token, WRONG, address=HERE) == WrongCredentials()
        assert (await setup.failures())[0] == max(number - 9, 0)

    hashes = setup.hashes_computed
    assert isinstance(await setup.accounts.reauthenticate(token, RIGHT, address=HERE), AttemptThrottled)
    assert isinstance(await setup.login("ada", address=ELSEWHERE), AttemptThrottled)

    assert setup.hashes_computed == hashes
    assert (setup.logins("wrong"), setup.logins("throttled")) == (15, 2)
    assert (await setup.sessions.verify(token)).user == "ada"


async def test_the_right_password_restores_the_limit(world, setup):
    """As a login does: guesses of before keep the user out no longer."""
    token = await token_of(setup)
    for _ in range(9):
        await setup.accounts.reauthenticate(token, WRONG, address=HERE)
    token = (await setup.accounts.reauthenticate(token, RIGHT, address=HERE)).rotation.token

    for _ in range(9):
        assert await setup.accounts.reauthenticate(token, WRONG, address=HERE) == WrongCredentials()
    assert await setup.failures() == (0, 0)


async def test_a_session_that_is_over_costs_nothing(world, setup):
    """No unit is charged and no password is hashed for a token that opens no session."""
    token = await token_of(setup)
    await setup.sessions.revoke_all("ada")
    charged, hashes = await keys_of(world, "limits"), setup.hashes_computed

    for presented in (token, "none"):
        result = await setup.accounts.reauthenticate(presented, RIGHT, address=HERE)
        assert result == StepUpRefused(reason="over")

    assert (await keys_of(world, "limits"), setup.hashes_computed) == (charged, hashes)


async def test_who_acts_for_a_user_is_not_asked(world, setup):
    """The password of the user is none of an administrator's: nothing is charged, and the session goes on."""
    token = await token_of(setup)
    acting = login_text(LoginContext(impersonation=Impersonation(actor="root", actor_sid="a" * 26, reason="a call")))
    (record,) = await records(world)
    await world.command("sessions", "HSET", record.key, "au", f"{world.now_ms} {acting}")
    hashes = setup.hashes_computed

    result = await setup.accounts.reauthenticate(token, RIGHT, address=HERE)

    assert result == StepUpRefused(reason="impersonated")
    assert setup.hashes_computed == hashes


async def test_a_session_that_ends_meanwhile_stays_over(world, setup):
    """A revocation while the password is hashed wins: the right password opens nothing."""
    token = await token_of(setup)

    class Ending:
        """The store of sessions, on which the session ends just before the step-up."""

        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            if script == "sessions/step_up":
                await Setup(world).sessions.revoke_all("ada")
            return await world.stores.sessions.run_durably(script, keys, args)

    class Stores:
        sessions, limits, accounts = Ending(), world.stores.limits, world.stores.accounts

    result = await Setup(world, stores=Stores()).accounts.reauthenticate(token, RIGHT, address=HERE)

    assert result == StepUpRefused(reason="over")
    assert await records(world) == []
    assert setup.logins("refused") == 1


@pytest.mark.parametrize("user", ["nobody", "Ada", "u" * 256])
async def test_a_user_without_an_account_has_no_password(world, setup, user):
    """Also one whose name differs from an account's in case alone: an application may know both."""
    await setup.sign_up("ada")
    token = (await setup.sessions.create(user)).token

    assert await setup.accounts.reauthenticate(token, RIGHT, address=HERE) == WrongCredentials()


async def test_a_password_that_none_can_be_is_refused(setup):
    """As at a login: it is too long for any account."""
    token = await token_of(setup)
    with pytest.raises(InvalidInput) as caught:
        await setup.accounts.reauthenticate(token, "x" * 2_000, address=HERE)
    assert caught.value.field == "password"
