"""Passkeys are added, renamed and removed by who has shown the factors that there are; and the user is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import HOUR_MS
from tests.authenticators import ATTESTED, PRESENT, Authenticator, b64, unb64
from tests.passkeys import PasskeyUsers
from tests.spec.sessions.events.test_reader import read
from tollhouse.accounts.factors.outcomes import FactorRefused, FactorsChanged
from tollhouse.accounts.outcomes import TicketRefused
from tollhouse.accounts.passkeys.challenges import LIFE_MS
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded, PasskeyRefused
from tollhouse.accounts.passkeys.passkey import PASSKEYS_MAX
from tollhouse.errors import InvalidInput

DONE = FactorsChanged(durable=False)
LEVEL = FactorRefused(reason="level", level="aal2")
NO_ACCOUNT = FactorRefused(reason="no-account")


@pytest.fixture
def setup(world):
    return PasskeyUsers(world)


async def password_session(setup, user="ada"):
    await setup.sign_up(user)
    return (await setup.login(user)).issued.session


async def test_the_first_passkey_is_added_after_a_password(world, setup):
    """Its name, its times and how it is reached are kept; the account can reach the second level from then on."""
    session = await password_session(setup)
    assert (await setup.accounts.factors.overview("ada")).highest_level == "aal1"

    added = await setup.added(session, name=" my phone ")

    assert await setup.passkeys.list("ada") == (added,)
    assert (added.name, added.created_ms, added.last_used_ms) == ("my phone", world.now_ms, None)
    assert (added.transports, added.synced) == (("internal", "hybrid"), False)
    overview = await setup.accounts.factors.overview("ada")
    assert (overview.passkeys, overview.highest_level) == (1, "aal2")
    assert await setup.passkeys.list("nobody") is None


async def test_the_user_handle_is_random_and_stays(world, setup):
    """32 bytes that tell nothing of the user, the same for all passkeys of an account, and another for each account."""
    session, other = await password_session(setup), await password_session(setup, "bob")

    asked = [await setup.passkeys.creation_options(one) for one in (session, session, other)]

    handles = [one.public_key["user"]["id"] for one in asked]
    assert handles[0] == handles[1] != handles[2]
    assert {len(unb64(handle)) for handle in handles} == {32}
    assert asked[0].public_key["user"]["name"] == "ada"


async def test_requests_side_by_side_agree_on_the_handle(world, setup):
    """Also of an account that has none yet."""
    session = await password_session(setup)

    asked = await asyncio.gather(*(setup.passkeys.creation_options(session) for _ in range(3)))

    assert len({one.public_key["user"]["id"] for one in asked}) == 1


@pytest.mark.asvs("7.5.1")
async def test_a_passkey_is_added_by_who_has_shown_the_factors(world, setup):
    """ASVS 7.5.1: a session of a password alone adds, renames and removes none once the account can reach more."""
    weak = await setup.with_passkey()
    kept = (await setup.passkeys.list("ada"))[0].id

    assert await setup.passkeys.creation_options(weak) == LEVEL
    assert await setup.passkeys.rename(weak, kept, "mine") == LEVEL
    assert await setup.passkeys.remove(weak, kept) == LEVEL
    strong = (await setup.by_passkey()).issued.session
    await setup.added(strong, Authenticator())
    await world.advance(24 * HOUR_MS + 1)
    assert await setup.passkeys.remove(strong, kept) == LEVEL


async def test_a_session_that_was_weaker_when_the_answer_came_adds_none(world, setup):
    """What was asked for before another factor was added counts for nothing then."""
    session = await password_session(setup)
    asked = await setup.passkeys.creation_options(session)
    await setup.enrolled_in(session)

    answer = setup.device.create(asked.public_key)

    assert await setup.passkeys.register(session, answer, "mine") == LEVEL
    assert await setup.passkeys.list("ada") == ()


async def test_an_answer_adds_one_passkey_in_its_session(world, setup):
    """Not in another session, not twice, not after five minutes, and not if any part is wrong."""
    session = await password_session(setup)
    other = (await setup.login("ada")).issued.session
    asked = (await setup.passkeys.creation_options(session)).public_key
    answer = setup.device.create(asked)
    refused = PasskeyRefused()

    assert await setup.passkeys.register(other, answer, "mine") == refused
    for wrong in ({"origin": "https://evil.example"}, {"flags": PRESENT | ATTESTED}, {"challenge": b64(bytes(38))}):
        assert await setup.passkeys.register(session, setup.device.create(asked, **wrong), "mine") == refused
    added = await asyncio.gather(*(setup.passkeys.register(session, answer, "mine") for _ in range(3)))
    assert sorted(type(one).__name__ for one in added) == ["PasskeyAdded", "PasskeyRefused", "PasskeyRefused"]
    strong = (await setup.passkeys.login(setup.shown(key=key_of(setup, answer)))).issued.session
    late = setup.device.create((await setup.passkeys.creation_options(strong)).public_key)
    await world.advance(LIFE_MS)
    assert await setup.passkeys.register(strong, late, "mine") == refused


def key_of(setup, answer):
    """Return the key of an answer, whose device has made others since."""
    return next(key for key in setup.device.keys if key.id == answer["id"])


async def test_a_passkey_is_added_once(world, setup):
    """A device is told which passkeys there are, and one that comes again is refused."""
    await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    asked = (await setup.passkeys.creation_options(strong)).public_key
    assert [one["id"] for one in asked["excludeCredentials"]] == [setup.device.keys[0].id]

    again = setup.device.attestation(setup.device.keys[0], asked)

    assert await setup.passkeys.register(strong, again, "again") == FactorRefused(reason="present")


async def test_twenty_passkeys_are_enough(world, setup):
    """Another one is refused, before and after it was made."""
    await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    for _ in range(PASSKEYS_MAX - 2):
        await setup.added(strong, Authenticator())
    asked = (await setup.passkeys.creation_options(strong)).public_key
    await setup.added(strong, Authenticator())
    full = FactorRefused(reason="full")

    assert await setup.passkeys.register(strong, Authenticator().create(asked), "one more") == full
    assert await setup.passkeys.creation_options(strong) == full
    assert len(await setup.passkeys.list("ada")) == PASSKEYS_MAX


async def test_a_passkey_gets_another_name(world, setup):
    """It opens as before; the others keep theirs, and what is no name is an error."""
    await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    await setup.added(strong, Authenticator(), name="second")
    first, _ = await setup.passkeys.list("ada")

    assert await setup.passkeys.rename(strong, first.id, "the phone") == DONE

    assert [one.name for one in await setup.passkeys.list("ada")] == ["the phone", "second"]
    assert await setup.by_passkey()
    assert await setup.passkeys.rename(strong, "AAAA", "x") == FactorRefused(reason="missing")
    with pytest.raises(InvalidInput):
        await setup.passkeys.rename(strong, first.id, "")


async def test_a_passkey_is_removed(world, setup):
    """It is not asked for any more, and the level is that of what is left; one that is not there is missing."""
    await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    kept = setup.device.keys[0].id

    assert await setup.passkeys.remove(strong, kept) == DONE

    assert await setup.passkeys.list("ada") == ()
    assert (await setup.accounts.factors.overview("ada")).highest_level == "aal1"
    assert await setup.passkeys.remove(strong, kept) == FactorRefused(reason="missing")
    assert isinstance(await setup.passkeys.creation_options(strong), PasskeyOptions)


async def test_the_last_way_in_is_not_removed(world, setup):
    """An account without a password keeps its last passkey, and may lose the others."""
    await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    second = await setup.added(strong, Authenticator())
    found = await setup.credentials.load("ada")
    assert await setup.credentials.replace(found, found.changed(password=None))

    assert await setup.passkeys.remove(strong, second.id) == DONE
    assert await setup.passkeys.remove(strong, setup.device.keys[0].id) == FactorRefused(reason="last")
    assert await setup.by_passkey()


@pytest.mark.asvs("7.4.3")
async def test_a_change_can_end_the_other_sessions(world, setup):
    """ASVS 7.4.3: the session of the change lives on, others and logins that are not done yet do not."""
    session = await setup.enrolled()
    other, due = await setup.sessions.create("ada"), await setup.due()

    await setup.added(session)
    assert await setup.sessions.verify(other.token)
    await setup.added(session, Authenticator(), end_others=True)

    assert [one.sid for one in await setup.sessions.list("ada")] == [session.sid]
    assert await setup.second(due.ticket) == TicketRefused()
    other = await setup.sessions.create("ada")
    assert await setup.passkeys.remove(session, setup.device.keys[0].id, end_others=True) == DONE
    assert await setup.sessions.verify(other.token) is None


@pytest.mark.asvs("6.3.7")
async def test_changes_of_passkeys_are_told(world, setup):
    """ASVS 6.3.7: each is an event, with the session in which it was made; another name is none."""
    reader = setup.sessions.events(user="ada", kinds=["passkey-added", "passkey-removed"])
    assert (await reader.read()).events == ()
    session = await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    kept = setup.device.keys[0].id
    assert await setup.passkeys.rename(strong, kept, "another name") == DONE
    assert await setup.passkeys.remove(strong, kept) == DONE

    events = await read(reader, 2)

    assert [(event.kind, event.sid) for event in events] == [
        ("passkey-added", session.sid),
        ("passkey-removed", strong.sid),
    ]


async def test_who_has_no_account_has_no_passkeys(world, setup):
    """The user of a session that an application began, and one whose account is disabled, or another one by now."""
    guest = (await setup.sessions.create("guest")).session
    assert await setup.passkeys.creation_options(guest) == NO_ACCOUNT
    assert await setup.passkeys.rename(guest, "x", "x") == NO_ACCOUNT

    session = await password_session(setup)
    answer = setup.device.create((await setup.passkeys.creation_options(session)).public_key)
    await setup.accounts.delete_account("ada")
    await setup.sign_up("ada")
    assert await setup.passkeys.register(session, answer, "mine") == NO_ACCOUNT

    session = await password_session(setup, "bob")
    found = await setup.credentials.load("bob")
    assert await setup.credentials.replace(found, found.changed(disabled=True))
    assert await setup.passkeys.creation_options(session) == NO_ACCOUNT


async def test_what_is_no_answer_or_no_name_is_an_error(world, setup):
    """It is refused before anything is read."""
    session = await password_session(setup)
    asked = (await setup.passkeys.creation_options(session)).public_key

    with pytest.raises(InvalidInput) as refused:
        await setup.passkeys.register(session, {"id": "x"}, "mine")
    assert refused.value.field.startswith("credential")
    with pytest.raises(InvalidInput) as refused:
        await setup.passkeys.register(session, setup.device.create(asked), "")
    assert refused.value.field == "name"
    assert isinstance(await setup.passkeys.register(session, setup.device.create(asked), "mine"), PasskeyAdded)


async def test_nothing_secret_is_stored(world, setup):
    """The store has public keys: who has read it signs nothing. An answer is in no text of a log."""
    await setup.with_passkey()
    (passkey,) = (await setup.credentials.load("ada")).passkeys

    assert passkey.public_key == setup.device.keys[0].cose()
