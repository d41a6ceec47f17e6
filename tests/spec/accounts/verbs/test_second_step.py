"""Logins in two steps: a right password and a code, each of them once, and by no way the password alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import ELSEWHERE, ROTATED_SECRET, WRONG
from tests.factors import Factors
from tests.spec.sessions.events.test_reader import read
from tollhouse.accounts.factors.outcomes import FactorsChanged
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.factors.tickets import ATTEMPTS, LIFE_MS
from tollhouse.accounts.factors.totp import STEP_MS
from tollhouse.accounts.outcomes import (
    AttemptThrottled,
    LoginSucceeded,
    SecondFactorDue,
    TicketRefused,
    WrongCode,
    WrongCredentials,
)
from tollhouse.errors import InvalidInput, Overloaded
from tollhouse.keyring import Keyring
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused


@pytest.fixture
def setup(world):
    return Factors(world)


@pytest.mark.asvs("6.3.3")
async def test_a_right_password_is_not_enough(world, setup):
    """ASVS 6.3.3: with one-time passwords a login takes a code, and begins a session of the second level then."""
    await setup.enrolled()
    before = await setup.sessions.list("ada")

    due = await setup.login("ada")

    assert isinstance(due, SecondFactorDue)
    assert due.factors == ("totp", "recovery")
    assert due.expires_at == world.now_ms + LIFE_MS
    assert await setup.sessions.list("ada") == before
    answer = await setup.second(due.ticket)
    assert isinstance(answer, LoginSucceeded)
    session = answer.issued.session
    assert (session.user, session.acr, session.amr) == ("ada", "aal2", ("pwd", "otp", "mfa"))
    assert session.authenticated_at == world.now_ms
    assert setup.logins("second-factor") == 2


async def test_a_wrong_password_shows_no_factor(world, setup):
    """Without the password the answer is that for any name, also with a right code nowhere to send it."""
    await setup.enrolled()

    assert await setup.login("ada", WRONG) == await setup.login("nobody", WRONG) == WrongCredentials()


async def test_a_recovery_code_stands_in_for_the_app(world, setup):
    """Each code logs in once; its methods say so, and an event tells of it."""
    await setup.enrolled()
    reader = setup.sessions.events(user="ada", kinds=["recovery-code-used"])
    assert (await reader.read()).events == ()

    answer = await setup.second((await setup.due()).ticket, setup.codes[3].upper(), "recovery")

    assert isinstance(answer, LoginSucceeded)
    assert (answer.issued.session.acr, answer.issued.session.amr) == ("aal2", ("pwd", "recovery", "mfa"))
    assert (await setup.accounts.factors.overview("ada")).recovery_codes_left == 9
    assert await setup.second((await setup.due()).ticket, setup.codes[3], "recovery") == WrongCode()
    assert await setup.second((await setup.due()).ticket, setup.codes[4], "recovery")
    assert [event.user for event in await read(reader, 2)] == ["ada", "ada"]


async def test_the_session_is_what_the_password_asked_for(world, setup):
    """Policy, device and the data of a visitor are those of the first step; what is replaced is shown in the second."""
    await setup.enrolled()
    visit = await setup.sessions.create_anonymous({"cart": [1]}, policy="default")
    due = await setup.due(device="a laptop", policy="single", carry=True)

    answer = await setup.second(due.ticket, replaces=visit.token)

    assert answer == SessionRefused(reason="at-cap")
    await setup.sessions.revoke_all("ada")
    await world.advance(STEP_MS)
    due = await setup.due(device="a laptop", policy="single", carry=True)
    answer = await setup.second(due.ticket, replaces=visit.token)
    assert (answer.issued.session.device, answer.issued.session.policy) == ("a laptop", "single")
    assert (await setup.sessions.data(answer.issued.token)).values == {"cart": [1]}
    assert await setup.sessions.verify(visit.token) is None


@pytest.mark.asvs("6.5.1")
async def test_a_code_opens_once(world, setup):
    """ASVS 6.5.1: of two logins at once with one code, one gets a session, and the other may try the next code."""
    await setup.enrolled()
    first, second = await setup.due(), await setup.due()
    code = setup.code()

    answers = await asyncio.gather(setup.second(first.ticket, code), setup.second(second.ticket, code))

    assert {type(answer) for answer in answers} == {LoginSucceeded, WrongCode}
    lost = first if isinstance(answers[0], WrongCode) else second
    await world.advance(STEP_MS)
    assert await setup.second(lost.ticket)


async def test_a_recovery_code_opens_once_of_many(world, setup):
    """Of ten logins at once with one recovery code, one gets a session."""
    await setup.enrolled()
    tickets = [(await setup.due()).ticket for _ in range(3)]

    answers = await asyncio.gather(*(setup.second(one, setup.codes[0], "recovery") for one in tickets))

    assert [type(answer) for answer in answers].count(LoginSucceeded) == 1


async def test_a_ticket_opens_once(world, setup):
    """Of two requests with one ticket and two right codes, one begins a session; so does a ticket sent again."""
    await setup.enrolled()
    due, count = await setup.due(), len(await setup.sessions.list("ada"))

    answers = await asyncio.gather(setup.second(due.ticket), setup.second(due.ticket, setup.codes[0], "recovery"))

    assert {type(answer) for answer in answers} == {LoginSucceeded, TicketRefused}
    await world.advance(STEP_MS)
    assert await setup.second(due.ticket) == TicketRefused()
    assert len(await setup.sessions.list("ada")) == count + 1


async def test_five_wrong_codes_end_a_ticket(world, setup):
    """A ticket takes five attempts: then the password has to be given again."""
    await setup.enrolled()
    due = await setup.due()

    for _ in range(ATTEMPTS):
        assert await setup.second(due.ticket, setup.wrong_code()) == WrongCode()

    assert await setup.second(due.ticket) == TicketRefused()


@pytest.mark.asvs("6.6.3")
async def test_guesses_at_codes_are_bounded_over_tickets(world, setup):
    """ASVS 6.6.3: new tickets give no further guesses, and the password and the other factor are not refused for it."""
    await setup.enrolled()
    answers = []
    for _ in range(3):
        due = await setup.due()
        answers += [await setup.second(due.ticket, setup.wrong_code()) for _ in range(ATTEMPTS)]
        if isinstance(answers[-1], AttemptThrottled):
            break

    assert isinstance(answers[-1], AttemptThrottled)
    assert len([answer for answer in answers if isinstance(answer, WrongCode)]) <= 2 * ATTEMPTS
    due = await setup.due()
    assert isinstance(await setup.second(due.ticket, address=ELSEWHERE), AttemptThrottled)
    assert await setup.second(due.ticket, setup.codes[0], "recovery", address=ELSEWHERE)


async def test_a_right_code_begins_the_count_anew(world, setup):
    """Four wrong codes and a right one, again and again, refuse no one."""
    await setup.enrolled()

    for _ in range(4):
        due = await setup.due()
        for _ in range(ATTEMPTS - 1):
            assert await setup.second(due.ticket, setup.wrong_code()) == WrongCode()
        assert await setup.second(due.ticket)
        await world.advance(STEP_MS)


@pytest.mark.asvs("6.5.5", "6.5.8")
async def test_a_code_of_before_is_wrong(world, setup):
    """ASVS 6.5.5, 6.5.8: by the service's clock, an unused code is void 30 s later; a window of 1 takes it."""
    await setup.enrolled()
    code, due = setup.code(), await setup.due()
    await world.advance(STEP_MS)

    assert await setup.second(due.ticket, code) == WrongCode()
    setup.accounts = setup.accounts_with(factor_rules=FactorRules(totp_window=1))
    assert await setup.second(due.ticket, code)


@pytest.mark.asvs("6.5.5")
async def test_a_ticket_ends_by_time(world, setup):
    """Five minutes after the password a code comes too late."""
    await setup.enrolled()
    due = await setup.due()
    await world.advance(LIFE_MS)

    assert await setup.second(due.ticket) == TicketRefused()


@pytest.mark.parametrize("ticket", ["", "s1.0.x", "t1.x", "s1.00000000." + "A" * 43])
async def test_what_is_no_ticket_is_refused(world, setup, ticket):
    """No ticket means no password: nothing is compared, and nothing is counted."""
    await setup.enrolled()

    for _ in range(20):
        assert await setup.second(ticket) == TicketRefused()


async def test_what_no_code_can_be_costs_no_attempt(world, setup):
    """A text of other digits is an error of the client, and not a guess."""
    await setup.enrolled()
    due = await setup.due()

    for text in ("", "12345", "١٢٣٤٥٦", "1" * 100_000, "12345\ud800"):
        for _ in range(3):
            with pytest.raises(InvalidInput):
                await setup.second(due.ticket, text)

    assert await setup.second(due.ticket)


async def test_a_change_of_the_account_ends_its_tickets(world, setup):
    """A ticket is for the account that the password opened: not after a change that ends what began before it."""
    await setup.enrolled()
    due = await setup.due()
    found = await setup.credentials.load("ada")
    assert await setup.credentials.replace(found, found.changed_over())

    assert await setup.second(due.ticket) == TicketRefused()


async def test_a_disabled_user_gets_no_session(world, setup):
    """Neither one whose account is disabled after the password, nor one whose sessions are."""
    await setup.enrolled()
    due, later = await setup.due(), await setup.due()
    await setup.sessions.disable("ada")
    assert await setup.second(due.ticket) == TicketRefused()

    found = await setup.credentials.load("ada")
    assert await setup.credentials.replace(found, found.changed(disabled=True))

    assert await setup.second(later.ticket) == TicketRefused()


async def test_a_change_in_the_middle_of_the_second_step_wins(world, setup):
    """A session that begins after the end of those of before is ended by the login itself."""
    await setup.enrolled()
    due = await setup.due()
    create = setup.sessions.create

    async def changed_before(*args, **options):
        found = await setup.credentials.load("ada")
        assert await setup.credentials.replace(found, found.changed_over())
        await setup.sessions.revoke_all("ada")
        return await create(*args, **options)

    setup.sessions.create = changed_before

    assert await setup.second(due.ticket) == TicketRefused()
    assert await setup.sessions.list("ada") == ()


async def test_a_change_between_the_check_and_the_use_of_a_code_is_seen(world, setup):
    """What comes between is decided anew: a code is right still, or an account that changed opens no more."""
    await setup.enrolled()
    replace, count = setup.credentials.replace, 0

    def changing(times, **changes):
        async def replaced(before, after):
            nonlocal count
            count += 1
            if count <= times:
                found = await setup.credentials.load("ada")
                await replace(found, found.changed(**changes))
                return await replace(before, after)
            return await replace(before, after)

        return replaced

    due = await setup.due()
    setup.credentials.replace = changing(4)
    assert await setup.second(due.ticket)
    await world.advance(STEP_MS)

    setup.credentials.replace, due, count = replace, await setup.due(), 0
    setup.credentials.replace = changing(5)
    with pytest.raises(Overloaded):
        await setup.second(due.ticket)

    setup.credentials.replace, count = changing(1, epoch="another"), 0
    assert await setup.second(due.ticket) == WrongCode()


async def test_an_account_that_is_deleted_meanwhile_opens_nothing(world, setup):
    """The code of an account that goes between its check and its use is wrong."""
    await setup.enrolled()
    due, replace = await setup.due(), setup.credentials.replace

    async def gone(before, after):
        found = await setup.credentials.load("ada")
        assert await setup.credentials.delete(found)
        return await replace(before, after)

    setup.credentials.replace = gone

    assert await setup.second(due.ticket) == WrongCode()
    assert await setup.second(due.ticket) == TicketRefused()


async def test_the_cap_asks_after_the_second_factor(world, setup):
    """The ticket of a login at the cap is given to who has shown both factors, and keeps the level of both."""
    session = await setup.enrolled()
    due = await setup.login("ada", policy="asking")
    assert isinstance(due, SecondFactorDue)

    reached = await setup.second(due.ticket)

    assert isinstance(reached, CapReached)
    sids = [one.sid for one in await setup.sessions.list("ada")]
    issued = await setup.sessions.resume(reached.ticket, end=sids)
    assert isinstance(issued, Issued)
    assert issued.session.acr == "aal2"
    assert await setup.sessions.list("ada") == (issued.session,)
    assert session.sid in sids


@pytest.mark.asvs("6.5.6")
async def test_a_removed_factor_is_not_asked_for_any_more(world, setup):
    """After its removal the password is enough again, at the first level; no ticket of before opens by the codes."""
    session = await setup.enrolled()
    due = await setup.due()
    assert await setup.accounts.factors.remove_totp(session) == FactorsChanged(durable=False)

    answer = await setup.login("ada")

    assert isinstance(answer, LoginSucceeded)
    assert (answer.issued.session.acr, answer.issued.session.amr) == ("aal1", ("pwd",))
    assert await setup.second(due.ticket) == WrongCode()
    assert await setup.second(due.ticket, setup.codes[0], "recovery") == WrongCode()


async def test_levels_of_the_settings_are_those_of_the_steps(world, setup):
    """The first level is of a password, the second of two factors; of one level alone it is that."""
    await setup.enrolled()
    for levels, second in ((("bronze", "silver", "gold"), "silver"), (("only",), "only")):
        setup.accounts = setup.accounts_with(factor_rules=FactorRules(levels=levels))
        assert (await setup.log_in_twice()).session.acr == second
        await world.advance(STEP_MS)


async def test_a_rotation_of_the_secret_keeps_the_factors(world, setup):
    """Seeds and recovery codes under an older secret work while that is configured; without it they open nothing."""
    await setup.enrolled()
    (old,) = world.keyring.secrets
    rotated = Factors(world, keyring=Keyring(secrets=(ROTATED_SECRET, old)))
    rotated.seed, rotated.codes = setup.seed, setup.codes

    assert await rotated.log_in_twice()
    assert await rotated.second((await rotated.due()).ticket, rotated.codes[0], "recovery")

    alone = Factors(world, keyring=Keyring(secrets=(ROTATED_SECRET,)))
    alone.seed = setup.seed
    await world.advance(STEP_MS)
    due = await alone.due()
    assert due.factors == ()
    assert await alone.second(due.ticket) == WrongCode()
    assert await alone.second(due.ticket, setup.codes[1], "recovery") == WrongCode()
