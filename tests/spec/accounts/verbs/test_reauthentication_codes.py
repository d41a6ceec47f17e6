"""Authentication in a session of a user with a second factor: by the password and a code, or by what is missing."""

from __future__ import annotations

import pytest

from tests.accounts import HERE, HOUR_MS, RIGHT, WRONG
from tests.factors import Factors
from tollhouse.accounts.factors.outcomes import FactorsChanged
from tollhouse.accounts.factors.totp import STEP_MS
from tollhouse.accounts.outcomes import (
    AttemptThrottled,
    CodeDue,
    PasswordConfirmed,
    PasswordDue,
    WrongCode,
    WrongCredentials,
)
from tollhouse.errors import InvalidInput
from tollhouse.sessions.verbs.step_up import StepUpRefused


@pytest.fixture
def setup(world):
    return Factors(world)


async def reauth(setup, token, password=None, code=None):
    return await setup.accounts.reauthenticate(token, password, address=HERE, code=code)


async def session_of_before(setup):
    """Return the token of a session that a password began before the user added the second factor."""
    await setup.sign_up("ada")
    token = (await setup.login("ada")).issued.token
    await setup.enrolled_in(await setup.sessions.verify(token))
    return token


@pytest.mark.asvs("6.3.3", "7.5.1")
async def test_the_password_alone_is_not_enough(world, setup):
    """ASVS 7.5.1: if a login takes a code, so does every other authentication; nothing is changed without it."""
    token = await session_of_before(setup)

    due = await reauth(setup, token, RIGHT)

    assert due == CodeDue(factors=("totp",))
    session = await setup.sessions.verify(token)
    assert session is not None
    assert session.acr == "aal1"


async def test_both_step_up_to_the_second_level(world, setup):
    """The session has the methods of both, and another token; the code is spent."""
    token = await session_of_before(setup)

    result = await reauth(setup, token, RIGHT, setup.code())

    assert isinstance(result, PasswordConfirmed)
    session = result.rotation.session
    assert (session.acr, session.amr) == ("aal2", ("pwd", "otp", "mfa"))
    assert await reauth(setup, result.rotation.token, RIGHT, setup.code()) == WrongCode()


async def test_a_wrong_password_is_told_before_the_code_is_looked_at(world, setup):
    """A guess at the password learns nothing about a code, and a right code goes with it unspent."""
    token = await session_of_before(setup)

    assert await reauth(setup, token, WRONG, setup.code()) == WrongCredentials()
    assert await reauth(setup, token, RIGHT, setup.wrong_code()) == WrongCode()
    assert await reauth(setup, token, RIGHT, setup.code())


async def test_a_code_alone_is_enough_soon_after_the_password(world, setup):
    """The password began the session less than an hour ago, and the code follows: both were shown to it."""
    token = await session_of_before(setup)

    result = await reauth(setup, token, code=setup.code())

    assert isinstance(result, PasswordConfirmed)
    assert (result.rotation.session.acr, result.rotation.session.amr) == ("aal2", ("otp", "mfa"))


async def test_codes_alone_do_not_make_a_password_last(world, setup):
    """After a step-up by a code the next one takes the password: no row of codes replaces it."""
    result = await reauth(setup, await session_of_before(setup), code=setup.code())
    await world.advance(STEP_MS)

    again = await reauth(setup, result.rotation.token, code=setup.code())

    assert again == PasswordDue()
    assert await reauth(setup, result.rotation.token, RIGHT, setup.code())


async def test_a_code_comes_too_late_after_the_password(world, setup):
    """An hour after the password a code alone is not enough, nor in a session that began otherwise."""
    token = await session_of_before(setup)
    began = (await setup.sessions.create("ada", acr="aal1", amr=["sso"])).token
    assert await reauth(setup, began, code=setup.code()) == PasswordDue()
    for _ in range(2):
        await world.advance(HOUR_MS // 2 + 1)
        await setup.sessions.verify(token)
        await setup.sessions.aclose()

    assert await reauth(setup, token, code=setup.code()) == PasswordDue()
    assert await reauth(setup, "v1.none", code=setup.code()) == StepUpRefused(reason="over")


async def test_a_locked_session_opens_by_both(world, setup):
    """A session that locked opens by password and code, as a login does; a code alone does not open it."""
    token = await session_of_before(setup)
    await lock(world, token)

    assert await reauth(setup, token, code=setup.code()) == PasswordDue()
    assert await reauth(setup, token, RIGHT) == CodeDue(factors=("totp",))
    assert await setup.sessions.verify(token) is None
    result = await reauth(setup, token, RIGHT, setup.code())
    assert await setup.sessions.verify(result.rotation.token) == result.rotation.session


async def lock(world, token):
    """Make the session of a token idle for longer than its policy allows, under one that locks it."""
    (key,) = await world.command("sessions", "KEYS", f"*:sid:{token.sid}")
    await world.command("sessions", "HSET", key, "lk", 1, "l", 1)


async def test_a_removed_factor_is_not_asked_for_any_more(world, setup):
    """After its removal the password is enough, a code that comes with it is not looked at, and one alone is none."""
    issued = (await setup.sessions.create("ada")).token
    session = await setup.enrolled()
    assert await setup.accounts.factors.remove_totp(session) == FactorsChanged(durable=False)
    token = (await setup.login("ada")).issued.token

    assert await reauth(setup, token, code=setup.code()) == PasswordDue()
    first = await reauth(setup, token, RIGHT, setup.wrong_code())
    second = await reauth(setup, issued, RIGHT)

    assert first.rotation.session.acr == second.rotation.session.acr == "aal1"


async def test_guesses_at_codes_are_bounded(world, setup):
    """A session has ten wrong codes, and then those of any client."""
    token = await session_of_before(setup)
    answers = [await reauth(setup, token, code=setup.wrong_code()) for _ in range(16)]

    assert isinstance(answers[-1], AttemptThrottled)
    assert answers.count(WrongCode()) == 15


async def test_without_either_nothing_is_asked(world, setup):
    """A call with neither is a mistake of the caller."""
    token = await session_of_before(setup)

    with pytest.raises(InvalidInput):
        await reauth(setup, token)
    with pytest.raises(InvalidInput):
        await reauth(setup, token, code="12345")


async def test_a_user_without_an_account_has_no_code(world, setup):
    """The user of a session that an application began is asked for the password, and has none."""
    token = (await setup.sessions.create("guest", amr=["pwd"])).token

    assert await reauth(setup, token, code="123456") == PasswordDue()
