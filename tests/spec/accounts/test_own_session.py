"""What a user does with the own account takes the second factor that a login takes."""

from __future__ import annotations

import pytest

from tests.accounts import HERE, RIGHT, WRONG
from tests.factors import Factors
from tollhouse.accounts.factors.rules import DEFAULT_RULES
from tollhouse.accounts.outcomes import AccountDeleted, LevelDue, PasswordChanged, PasswordConfirmed, WrongCredentials
from tollhouse.accounts.own_session import OwnLevel

NEW = "canyon lamp brisk orbit"
DAY_MS = 86_400_000


@pytest.fixture
def setup(world):
    return Factors(world)


async def change_own(setup, token, password=RIGHT):
    return await setup.accounts.change_password(token, password, NEW, address=HERE)


async def delete_own(setup, token, password=RIGHT):
    return await setup.accounts.delete_own(token, password, address=HERE)


@pytest.mark.asvs("7.5.1")
@pytest.mark.parametrize(("act", "done"), [(change_own, PasswordChanged), (delete_own, AccountDeleted)])
async def test_the_password_alone_changes_nothing_of_an_account_with_a_second_factor(setup, act, done):
    """ASVS 7.5.1: a session that has shown a password alone is asked for the level of a login, and then does it."""
    await setup.sign_up("ada")
    login = await setup.login("ada")
    token = login.issued.token
    await setup.enrolled_in(login.issued.session)

    assert await act(setup, token, WRONG) == WrongCredentials()
    assert await act(setup, token) == LevelDue(level="aal2")
    assert (await setup.sessions.verify(token)).user == "ada"

    stepped = await setup.accounts.reauthenticate(token, RIGHT, address=HERE, code=setup.code())
    assert isinstance(stepped, PasswordConfirmed)
    assert isinstance(await act(setup, stepped.rotation.token), done)


async def test_a_second_factor_counts_for_a_day(setup):
    """A browser that is remembered for weeks is asked for it again."""
    session = await setup.enrolled()
    found = await setup.credentials.load("ada")

    dues = [
        OwnLevel(DEFAULT_RULES, lambda age_ms=age_ms: session.authenticated_at + age_ms).due(session, found)
        for age_ms in (DAY_MS, DAY_MS + 1)
    ]

    assert dues == [None, LevelDue(level="aal2")]


@pytest.mark.parametrize(("act", "done"), [(change_own, PasswordChanged), (delete_own, AccountDeleted)])
async def test_without_a_second_factor_the_password_is_enough(setup, act, done):
    """So it is for a user who has removed the factor."""
    session = await setup.enrolled()
    removed = await setup.accounts.factors.remove_totp(session)
    assert removed.durable in (True, False)
    token = (await setup.login("ada")).issued.token

    assert isinstance(await act(setup, token), done)
