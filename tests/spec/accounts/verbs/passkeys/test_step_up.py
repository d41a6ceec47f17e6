"""The authentication by a passkey in a session: two factors at once, in that session alone, also if it is locked."""

from __future__ import annotations

import pytest

from tests.accounts import HOUR_MS
from tests.authenticators import PRESENT, Authenticator
from tests.passkeys import PasskeyUsers
from tests.spec.stored import records
from tollhouse.accounts.passkeys.outcomes import PasskeyConfirmed, PasskeyRefused
from tollhouse.errors import InvalidInput
from tollhouse.sessions.logins import Impersonation, LoginContext, login_text
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.step_up import StepUpRefused


@pytest.fixture
def setup(world):
    return PasskeyUsers(world)


async def begun(setup, user="ada"):
    """Return the token of a session of a password, whose user has a passkey."""
    await setup.with_passkey(user)
    return (await setup.login(user)).issued.token


async def answered(setup, token, device=None, **wrong):
    session = await setup.sessions.verify(token, passive=True, locked=True)
    asked = await setup.passkeys.step_up_options(session)
    return (setup.device if device is None else device).get(asked.public_key, **wrong)


@pytest.mark.asvs("7.5.1")
async def test_a_passkey_steps_a_session_up(world, setup):
    """The session has the second level, the time of now and another token; the former token opens nothing."""
    token = await begun(setup)
    await world.advance(10 * 60_000)

    result = await setup.passkeys.step_up(token, await answered(setup, token))

    assert isinstance(result, PasskeyConfirmed)
    session = result.rotation.session
    assert (session.acr, session.amr) == ("aal2", ("hwk", "user", "mfa"))
    assert session.authenticated_at == world.now_ms
    assert (await setup.sessions.verify(result.rotation.token)).sid == session.sid
    assert await setup.sessions.verify(token) is None


async def test_an_answer_is_good_for_its_session(world, setup):
    """Not for another one of the same user, not for a login, and not twice."""
    token = await begun(setup)
    other = (await setup.login("ada")).issued.token
    answer = await answered(setup, token)

    assert await setup.passkeys.step_up(other, answer) == PasskeyRefused()
    assert await setup.passkeys.login(answer) == PasskeyRefused()
    assert await setup.passkeys.step_up(token, setup.shown()) == PasskeyRefused()
    result = await setup.passkeys.step_up(token, answer)
    assert isinstance(result, PasskeyConfirmed)
    assert await setup.passkeys.step_up(result.rotation.token, answer) == PasskeyRefused()


async def test_the_passkey_is_one_of_the_user(world, setup):
    """That of another is refused, and so is one whose user was not verified; the session is as before."""
    token = await begun(setup)
    await setup.with_passkey("bob", device=(other := Authenticator()))

    assert await setup.passkeys.step_up(token, await answered(setup, token, other)) == PasskeyRefused()
    assert await setup.passkeys.step_up(token, await answered(setup, token, flags=PRESENT)) == PasskeyRefused()
    assert (await setup.sessions.verify(token)).acr == "aal1"


async def test_a_session_that_is_over_or_acted_in_is_refused(world, setup):
    """Who acts as the user has no passkey of the user's; a token of a session that is over opens nothing."""
    token = await begun(setup)
    answer = await answered(setup, token)
    await setup.sessions.revoke_all("ada")
    assert await setup.passkeys.step_up(token, answer) == StepUpRefused(reason="over")

    token = (await setup.login("ada")).issued.token
    acting = login_text(LoginContext(impersonation=Impersonation(actor="root", actor_sid="a" * 26, reason="a call")))
    (record,) = await records(world)
    await world.command("sessions", "HSET", record.key, "au", f"{world.now_ms} {acting}")
    impersonated = StepUpRefused(reason="impersonated")
    assert await setup.passkeys.step_up(token, answer) == impersonated
    assert await setup.passkeys.step_up_options(await setup.sessions.verify(token)) == impersonated


async def test_a_locked_session_opens(world, setup):
    """A session that is idle for too long is locked, and a passkey opens it."""
    policies = {"default": SessionPolicy(idle_ms=60_000, absolute_ms=24 * HOUR_MS, on_idle="lock")}
    setup.sessions = Sessions(setup.stores.sessions, setup.keyring, world.metrics, policies)
    setup.accounts = setup.accounts_with(passkeys=setup.check)
    setup.passkeys = setup.accounts.passkeys
    token = await begun(setup)
    await world.advance(2 * 60_000)
    assert await setup.sessions.verify(token) is None

    result = await setup.passkeys.step_up(token, await answered(setup, token))

    assert isinstance(result, PasskeyConfirmed)
    assert await setup.sessions.verify(result.rotation.token)


async def test_who_has_no_passkey_is_asked_for_none(world, setup):
    """Neither an account without one, nor the user of an application, nor one who is disabled."""
    await setup.sign_up("ada")
    session = (await setup.login("ada")).issued.session
    guest = (await setup.sessions.create("guest")).session
    assert await setup.passkeys.step_up_options(session) == PasskeyRefused()
    assert await setup.passkeys.step_up_options(guest) == PasskeyRefused()

    token = await begun(setup, "bob")
    session, answer = await setup.sessions.verify(token), await answered(setup, token)
    found = await setup.credentials.load("bob")
    assert await setup.credentials.replace(found, found.changed(disabled=True))
    assert await setup.passkeys.step_up_options(session) == PasskeyRefused()
    assert await setup.passkeys.step_up(token, answer) == PasskeyRefused()


async def test_an_account_that_is_gone_opens_nothing(world, setup):
    """The session of a user whose account was deleted in the middle."""
    token = await begun(setup)
    answer = await answered(setup, token)
    assert await setup.credentials.delete(await setup.credentials.load("ada"))

    assert await setup.passkeys.step_up(token, answer) == PasskeyRefused()


async def test_a_change_in_the_middle_ends_the_session(world, setup):
    """A password that changes while the session is stepped up ends it, and the answer is a refusal."""
    token = await begun(setup)
    answer = await answered(setup, token)
    step = setup.sessions.step_up

    async def changed_behind(*args, **options):
        stepped = await step(*args, **options)
        found = await setup.credentials.load("ada")
        assert await setup.credentials.replace(found, found.changed_over())
        return stepped

    setup.sessions.step_up = changed_behind

    assert await setup.passkeys.step_up(token, answer) == PasskeyRefused()
    assert token.sid not in [one.sid for one in await setup.sessions.list("ada")]


async def test_a_session_that_ends_meanwhile_is_over(world, setup):
    """Between the check and the step."""
    token = await begun(setup)
    answer = await answered(setup, token)
    step = setup.sessions.step_up

    async def ended_before(*args, **options):
        await setup.sessions.revoke_all("ada")
        return await step(*args, **options)

    setup.sessions.step_up = ended_before

    assert await setup.passkeys.step_up(token, answer) == StepUpRefused(reason="over")


async def test_what_is_no_answer_is_an_error(world, setup):
    """It names the member."""
    with pytest.raises(InvalidInput):
        await setup.passkeys.step_up(await begun(setup), {})
