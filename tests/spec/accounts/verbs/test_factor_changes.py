"""Changes of second factors: confirmed before they count, made by who has shown the others, and told of."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.factors import Factors
from tests.spec.sessions.events.test_reader import read
from tests.spec.stored import everything
from tollhouse.accounts.credentials.secret_uses import count_secret_uses
from tollhouse.accounts.factors.outcomes import (
    AccountOverview,
    FactorRefused,
    FactorsChanged,
    RecoveryCodesMade,
    TotpEnrolment,
)
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.factors.totp import STEP_MS, otp, step_at
from tollhouse.accounts.outcomes import LoginSucceeded, SecondFactorDue, TicketRefused, WrongCode
from tollhouse.errors import InvalidInput
from tollhouse.keys import UNNAMED

DONE = FactorsChanged(durable=False)
LEVEL = FactorRefused(reason="level", level="aal2")


@pytest.fixture
def setup(world):
    return Factors(world)


async def password_session(setup, user="ada"):
    await setup.sign_up(user)
    return (await setup.login(user)).issued.session


async def test_a_factor_counts_once_a_code_confirmed_it(world, setup):
    """A seed that no app has yet asks for nothing; the code that confirms it is spent."""
    session = await password_session(setup)
    enrolment = await setup.accounts.factors.begin_totp(session)
    setup.seed = base64.b32decode(enrolment.secret)
    assert isinstance(await setup.login("ada"), LoginSucceeded)
    assert not (await setup.accounts.factors.overview("ada")).totp

    wrong = await setup.accounts.factors.confirm_totp(session, setup.wrong_code())
    right = await setup.accounts.factors.confirm_totp(session, setup.code())

    assert wrong == FactorRefused(reason="wrong-code")
    assert isinstance(right, RecoveryCodesMade)
    due = await setup.due()
    assert due.factors == ("totp", "recovery")
    assert await setup.second(due.ticket) == WrongCode()
    await world.advance(STEP_MS)
    assert isinstance(await setup.second(due.ticket), LoginSucceeded)


async def test_recovery_codes_come_with_the_factor(setup):
    """Who loses the app right after it was added still gets in: the codes of the confirmation are good."""
    session = await password_session(setup)
    enrolment = await setup.accounts.factors.begin_totp(session)
    setup.seed = base64.b32decode(enrolment.secret)
    made = await setup.accounts.factors.confirm_totp(session, setup.code())

    assert len(made.codes) == 10
    answer = await setup.second((await setup.due()).ticket, made.codes[3], factor="recovery")
    assert isinstance(answer, LoginSucceeded)


async def test_an_app_gets_the_seed_once(world, setup):
    """The seed is in the answer, to type and in the URI, with the issuer of the settings; and in no text of a log."""
    session = await password_session(setup)
    setup.accounts = setup.accounts_with(factor_rules=FactorRules(issuer="Acme: Rockets"))

    enrolment = await setup.accounts.factors.begin_totp(session)

    uri = urlsplit(enrolment.uri)
    assert uri.path == "/Acme%3A%20Rockets:ada"
    assert parse_qs(uri.query)["secret"] == [enrolment.secret]
    assert enrolment.secret not in repr(enrolment)
    stored = [value async for _, value in everything(world, "accounts")]
    seed = base64.b32decode(enrolment.secret)
    assert not any(secret in value for value in stored for secret in (seed, seed.hex().encode()))


async def test_a_seed_that_was_not_confirmed_is_replaced(world, setup):
    """Who begins anew gets another seed, and codes of the former one confirm nothing."""
    session = await password_session(setup)
    former = await setup.accounts.factors.begin_totp(session)
    newer = await setup.accounts.factors.begin_totp(session)

    def code(one):
        return otp(base64.b32decode(one.secret), step_at(world.now_ms))

    assert await setup.accounts.factors.confirm_totp(session, code(former)) == FactorRefused(reason="wrong-code")
    assert isinstance(await setup.accounts.factors.confirm_totp(session, code(newer)), RecoveryCodesMade)


async def test_what_is_there_is_not_added_twice(world, setup):
    """A confirmed factor is removed before another one of its kind begins; without one there is nothing to confirm."""
    session = await password_session(setup)
    missing = FactorRefused(reason="missing")
    assert await setup.accounts.factors.confirm_totp(session, "123456") == missing
    assert await setup.accounts.factors.remove_totp(session) == missing
    assert await setup.accounts.factors.new_recovery_codes(session) == missing

    session = await setup.enrolled("bob")

    present = FactorRefused(reason="present")
    assert await setup.accounts.factors.begin_totp(session) == present
    assert await setup.accounts.factors.confirm_totp(session, setup.code()) == present


@pytest.mark.asvs("7.5.1")
async def test_factors_are_changed_by_who_has_shown_them(world, setup):
    """ASVS 7.5.1: a session of before, or of a password alone, removes no second factor and reads no new codes."""
    weak = await password_session(setup)
    strong = await setup.enrolled("bob")
    of_bob = (await setup.sessions.create("bob", acr="aal1", amr=["pwd"])).session
    changes = setup.accounts.factors

    assert await changes.remove_totp(of_bob) == LEVEL
    assert await changes.new_recovery_codes(of_bob) == LEVEL
    assert await changes.begin_totp(of_bob) == LEVEL
    assert (await changes.overview("bob")).totp
    assert isinstance(await changes.begin_totp(weak), TotpEnrolment)
    await world.advance(24 * 3_600_000)
    assert await changes.remove_totp(strong) == LEVEL


async def test_new_recovery_codes_replace_the_former_ones(world, setup):
    """Ten codes are shown, once; those of before open nothing, and the user is told how many are left."""
    session = await setup.enrolled()
    former = setup.codes
    assert len(former) == 10

    made = await setup.accounts.factors.new_recovery_codes(session)

    assert isinstance(made, RecoveryCodesMade)
    assert not set(made.codes) & set(former)
    assert made.codes[0] not in repr(made)
    assert await setup.second((await setup.due()).ticket, former[0], "recovery") == WrongCode()
    assert await setup.second((await setup.due()).ticket, made.codes[0], "recovery")
    assert (await setup.accounts.factors.overview("ada")).recovery_codes_left == 9


async def test_the_overview_is_computed(world, setup):
    """The highest level is that of the factors of now, and follows them."""
    session = await password_session(setup)
    began_ms = session.created_at
    plain = AccountOverview(
        user="ada",
        created_at=began_ms,
        password_changed_at=None,
        password=True,
        totp=False,
        recovery_codes_left=0,
        passkeys=0,
        highest_level="aal1",
    )
    assert await setup.accounts.factors.overview("ada") == plain

    strong = await setup.enrolled("bob")
    overview = await setup.accounts.factors.overview("bob")
    assert (overview.totp, overview.recovery_codes_left, overview.highest_level) == (True, 10, "aal2")
    assert await setup.accounts.factors.remove_totp(strong) == DONE
    overview = await setup.accounts.factors.overview("bob")
    assert (overview.totp, overview.recovery_codes_left, overview.highest_level) == (False, 0, "aal1")
    assert await setup.accounts.factors.overview("nobody") is None


@pytest.mark.asvs("7.4.3")
async def test_a_change_of_factors_can_end_the_other_sessions(world, setup):
    """ASVS 7.4.3: the session of the change lives on, others and logins that are not done yet do not."""
    session = await setup.enrolled()
    others = [(await setup.sessions.create("ada")).token for _ in range(2)]
    due = await setup.due()

    kept = await setup.accounts.factors.new_recovery_codes(session)
    assert isinstance(kept, RecoveryCodesMade)
    assert all([await setup.sessions.verify(one) for one in others])
    ended = await setup.accounts.factors.new_recovery_codes(session, end_others=True)

    assert isinstance(ended, RecoveryCodesMade)
    assert [one.sid for one in await setup.sessions.list("ada")] == [session.sid]
    assert await setup.second(due.ticket) == TicketRefused()
    assert not (await setup.credentials.load("ada")).revoke_due
    assert await setup.log_in_twice()


async def test_who_has_no_account_has_no_factors(world, setup):
    """The user of a session that an application began, and one who is disabled, changes nothing."""
    session = (await setup.sessions.create("guest")).session
    no_account = FactorRefused(reason="no-account")

    assert await setup.accounts.factors.begin_totp(session) == no_account
    session = await setup.enrolled()
    found = await setup.credentials.load("ada")
    assert await setup.credentials.replace(found, found.changed(disabled=True))
    assert await setup.accounts.factors.remove_totp(session) == no_account


@pytest.mark.asvs("6.3.7")
async def test_changes_of_factors_are_told(world, setup):
    """ASVS 6.3.7: each change is an event, with the session in which it was made: an application tells the user."""
    reader = setup.sessions.events(user="ada", kinds=["totp-added", "totp-removed", "recovery-codes-made"])
    assert (await reader.read()).events == ()
    session = await setup.enrolled()
    assert await setup.accounts.factors.remove_totp(session) == DONE

    events = await read(reader, 3)

    assert [event.kind for event in events] == ["totp-added", "recovery-codes-made", "totp-removed"]
    assert events[1].sid == events[2].sid == session.sid


async def test_a_code_confirms_one_of_two_requests(world, setup):
    """Of two confirmations at once one adds the factor, and the other finds it."""
    session = await password_session(setup)
    enrolment = await setup.accounts.factors.begin_totp(session)
    setup.seed = base64.b32decode(enrolment.secret)

    answers = await asyncio.gather(*(setup.accounts.factors.confirm_totp(session, setup.code()) for _ in range(2)))

    assert {type(answer) for answer in answers} == {RecoveryCodesMade, FactorRefused}


async def test_what_no_code_can_be_is_an_error(world, setup):
    """It is refused before the account is read."""
    with pytest.raises(InvalidInput):
        await setup.accounts.factors.confirm_totp(await password_session(setup), "12345")


async def test_an_operator_sees_which_secrets_factors_need(world, setup):
    """A seed needs the secret that it was derived from, as a hash does: `tollhouse accounts secrets` counts both."""
    await setup.enrolled()
    found = await setup.credentials.load("ada")
    seed = found.totp
    assert await setup.credentials.replace(found, found.changed(totp=type(seed)(nonce="0" * 32, key_id="0badc0de")))

    uses = await count_secret_uses(world.stores.accounts, UNNAMED)

    assert uses == {world.keyring.key_ids()[0]: 1, "0badc0de": 1}
    assert isinstance(await setup.login("ada"), LoginSucceeded | SecondFactorDue)
