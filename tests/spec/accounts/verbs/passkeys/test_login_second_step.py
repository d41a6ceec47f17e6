"""The passkey as the second step of a login: for the user whose password was right, and by the ticket of that."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import HERE
from tests.authenticators import PRESENT, Authenticator, b64
from tests.passkeys import PasskeyUsers
from tollhouse.accounts.factors.tickets import ATTEMPTS, LIFE_MS
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import LoginSucceeded, SecondFactorDue, TicketRefused
from tollhouse.accounts.passkeys.outcomes import PasskeyRefused
from tollhouse.errors import InvalidInput
from tollhouse.sessions.outcomes import CapReached, SessionRefused


@pytest.fixture
def setup(world):
    return PasskeyUsers(world)


async def both(setup, user="ada"):
    """Sign up a user with one-time passwords and a passkey; return a session of both steps."""
    session = await setup.enrolled(user)
    await setup.added(session)
    return session


async def answered(setup, ticket, device=None, **wrong):
    """Answer the options of a second step."""
    asked = await setup.passkeys.second_step_options(ticket)
    return (setup.device if device is None else device).get(asked.public_key, **wrong)


async def test_a_passkey_is_as_good_as_a_code(world, setup):
    """The answer to the password names it; the session has the second level, and the methods of both."""
    await both(setup)
    due = await setup.due()
    assert due.factors == ("totp", "recovery", "passkey")

    answer = await setup.passkeys.second_step(due.ticket, await answered(setup, due.ticket))

    assert isinstance(answer, LoginSucceeded)
    session = answer.issued.session
    assert (session.user, session.acr, session.amr) == ("ada", "aal2", ("pwd", "hwk", "user", "mfa"))
    client = LoginClient(address=HERE, device_token=answer.device.reveal())
    assert setup.throttle.is_known_device("ada", client)


async def test_the_options_are_of_the_users_passkeys(world, setup):
    """Those of others are not asked for."""
    session = await both(setup)
    await setup.added(session, Authenticator())
    due = await setup.due()

    asked = await setup.passkeys.second_step_options(due.ticket.reveal())

    wanted = [one.id for one in await setup.passkeys.list("ada")]
    assert [one["id"] for one in asked.public_key["allowCredentials"]] == wanted
    assert len(wanted) == 2


async def test_the_session_is_what_the_password_asked_for(world, setup):
    """Its policy and device; a cap is told behind both steps."""
    await both(setup)
    due = await setup.due(policy="single", device="a laptop")

    refused = await setup.passkeys.second_step(due.ticket, await answered(setup, due.ticket))

    assert refused == SessionRefused(reason="at-cap")
    due = await setup.due(policy="asking")
    reached = await setup.passkeys.second_step(due.ticket, await answered(setup, due.ticket))
    assert isinstance(reached, CapReached)


async def test_an_answer_is_good_for_its_ticket(world, setup):
    """Not for that of another login, nor for a login without a password; nor one of a login for the ticket."""
    await both(setup)
    first, second = await setup.due(), await setup.due()
    answer = await answered(setup, first.ticket)

    assert await setup.passkeys.second_step(second.ticket, answer) == PasskeyRefused()
    assert await setup.passkeys.login(answer) == PasskeyRefused()
    assert await setup.passkeys.second_step(second.ticket, setup.shown()) == PasskeyRefused()
    assert isinstance(await setup.passkeys.second_step(first.ticket.reveal(), answer), LoginSucceeded)


async def test_a_ticket_opens_once(world, setup):
    """Of a passkey and a code at once with one ticket, one begins a session."""
    await both(setup)
    due = await setup.due()
    answer = await answered(setup, due.ticket)

    results = await asyncio.gather(setup.passkeys.second_step(due.ticket, answer), setup.second(due.ticket))

    assert {type(one) for one in results} == {LoginSucceeded, TicketRefused}
    assert await setup.passkeys.second_step(due.ticket, answer) == TicketRefused()
    assert await setup.passkeys.second_step_options(due.ticket) == TicketRefused()


async def test_what_is_wrong_costs_no_attempt(world, setup):
    """Nothing is guessed: after many wrong answers the right one opens."""
    await both(setup)
    due = await setup.due()

    for _ in range(2 * ATTEMPTS):
        wrong = await answered(setup, due.ticket, flags=PRESENT)
        assert await setup.passkeys.second_step(due.ticket, wrong) == PasskeyRefused()

    assert isinstance(await setup.passkeys.second_step(due.ticket, await answered(setup, due.ticket)), LoginSucceeded)


async def test_the_passkey_is_one_of_the_user(world, setup):
    """That of another user is refused, whatever user it says it is of; a key that says none may be right."""
    await both(setup)
    await setup.with_passkey("bob", device=(other := Authenticator()))
    due = await setup.due()

    for handle in (None, "", setup.device.keys[0].handle):
        answer = await answered(setup, due.ticket, other, handle=handle)
        assert await setup.passkeys.second_step(due.ticket, answer) == PasskeyRefused()
    wrong = await answered(setup, due.ticket, handle=other.keys[0].handle)
    assert await setup.passkeys.second_step(due.ticket, wrong) == PasskeyRefused()
    assert isinstance(
        await setup.passkeys.second_step(due.ticket, await answered(setup, due.ticket, handle="")), LoginSucceeded
    )


@pytest.mark.parametrize("ticket", ["", "s1.x", "s1.00000000." + "A" * 43])
async def test_what_is_no_ticket_is_refused(world, setup, ticket):
    """Without the password there is nothing to ask for."""
    await both(setup)

    assert await setup.passkeys.second_step_options(ticket) == TicketRefused()
    assert await setup.passkeys.second_step(ticket, setup.shown()) == TicketRefused()


async def test_a_ticket_ends_by_time_and_by_a_change(world, setup):
    """Five minutes after the password, and after a change that ends what began before."""
    await both(setup)
    due = await setup.due()
    answer = await answered(setup, due.ticket)
    found = await setup.credentials.load("ada")
    assert await setup.credentials.replace(found, found.changed_over())
    assert await setup.passkeys.second_step(due.ticket, answer) == TicketRefused()

    due = await setup.due()
    answer = await answered(setup, due.ticket)
    await world.advance(LIFE_MS)
    assert await setup.passkeys.second_step(due.ticket, answer) == TicketRefused()


async def test_a_passkey_alone_takes_no_second_step(world, setup):
    """A password is enough for an account that has no codes: its passkey is another way in."""
    await setup.with_passkey()

    answer = await setup.login("ada")

    assert isinstance(answer, LoginSucceeded)
    assert answer.issued.session.acr == "aal1"


async def test_a_user_without_passkeys_is_asked_for_none(world, setup):
    """The factors do not name it, and there are no options."""
    await setup.enrolled()
    due = await setup.due()

    assert isinstance(due, SecondFactorDue)
    assert "passkey" not in due.factors
    assert await setup.passkeys.second_step_options(due.ticket) == PasskeyRefused()
    assert await setup.passkeys.second_step(due.ticket, await no_answer(setup)) == PasskeyRefused()


async def no_answer(setup):
    """Return an answer of a device that has a passkey of another user."""
    await setup.with_passkey("bob", device=(device := Authenticator()))
    return setup.shown(device, challenge=b64(bytes(38)))


async def test_what_is_no_answer_is_an_error(world, setup):
    """It names the member, and the ticket stays good."""
    await both(setup)
    due = await setup.due()

    with pytest.raises(InvalidInput) as refused:
        await setup.passkeys.second_step(due.ticket, {"id": 7})

    assert refused.value.field.startswith("credential")
    assert isinstance(await setup.passkeys.second_step(due.ticket, await answered(setup, due.ticket)), LoginSucceeded)
