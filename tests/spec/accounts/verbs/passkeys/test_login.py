"""The login by a passkey alone: two factors at once, for who has the device, and the same refusal for all else."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import HERE, HOUR_MS, RIGHT, ROTATED_SECRET, WRONG
from tests.authenticators import EDDSA, PRESENT, RS256, Authenticator, b64
from tests.passkeys import PasskeyUsers
from tests.spec.stored import keys_of
from tollhouse.accounts.factors.outcomes import FactorsChanged
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.outcomes import AttemptThrottled, LoginSucceeded, WrongCredentials
from tollhouse.accounts.passkeys.challenges import LIFE_MS
from tollhouse.accounts.passkeys.outcomes import PasskeyRefused
from tollhouse.errors import InvalidInput, Overloaded, PasskeysOff
from tollhouse.keyring import Keyring
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused


@pytest.fixture
def setup(world):
    return PasskeyUsers(world)


@pytest.mark.asvs("6.3.3")
@pytest.mark.parametrize("algorithm", [-7, EDDSA, RS256])
async def test_a_passkey_logs_in(world, setup, algorithm):
    """ASVS 6.3.3: without a name, at the second level, by a challenge that is signed; the device is trusted then."""
    device = Authenticator(algorithm)
    await setup.with_passkey(device=device)
    await world.advance(1_000)

    answer = await setup.by_passkey(device, device="a laptop")

    assert isinstance(answer, LoginSucceeded)
    session = answer.issued.session
    assert (session.user, session.acr, session.amr) == ("ada", "aal2", ("hwk", "user", "mfa"))
    assert (session.device, session.authenticated_at) == ("a laptop", world.now_ms)
    (passkey,) = await setup.passkeys.list("ada")
    assert (passkey.sign_count, passkey.last_used_ms) == (1, world.now_ms)
    device_token = answer.device.reveal()
    assert isinstance(await setup.login("ada", device_token=device_token), LoginSucceeded)


async def test_a_synced_passkey_says_so(world, setup):
    """RFC 8176: its key has left the device, so the method is `swk`."""
    await setup.with_passkey(device=(device := Authenticator(synced=True, counts=False)))

    answers = [await setup.by_passkey(device) for _ in range(2)]

    assert [answer.issued.session.amr for answer in answers] == [("swk", "user", "mfa")] * 2


async def test_a_login_has_the_options_of_a_login(world, setup):
    """A policy, the session that is replaced, and the data of a visitor."""
    await setup.with_passkey()
    visit = await setup.sessions.create_anonymous({"cart": [1]}, policy="default")

    answer = await setup.by_passkey(policy="single", replaces=visit.token, carry=True)

    assert answer == SessionRefused(reason="at-cap")
    await setup.sessions.revoke_all("ada")
    answer = await setup.by_passkey(policy="single", replaces=visit.token, carry=True)
    assert (await setup.sessions.data(answer.issued.token)).values == {"cart": [1]}
    assert await setup.sessions.verify(visit.token) is None
    with pytest.raises(InvalidInput):
        await setup.by_passkey(policy="no such policy")


async def test_the_cap_asks_after_the_passkey(world, setup):
    """The ticket of a login at the cap keeps its level."""
    await setup.with_passkey()

    reached = await setup.by_passkey(policy="asking")

    assert isinstance(reached, CapReached)
    issued = await setup.sessions.resume(reached.ticket, end=[one.sid for one in await setup.sessions.list("ada")])
    assert isinstance(issued, Issued)
    assert (issued.session.acr, issued.session.amr) == ("aal2", ("hwk", "user", "mfa"))


async def test_the_level_is_that_of_the_settings(world):
    """The second of all, or the only one."""
    setup = PasskeyUsers(world, rules=FactorRules(levels=("bronze", "silver"), passkeys=True))
    await setup.with_passkey()

    assert (await setup.by_passkey()).issued.session.acr == "silver"


async def test_options_of_a_login_keep_nothing(world, setup):
    """A flood of them leaves the store as it was, and shows of no name whether it has an account."""
    before = await keys_of(world, "accounts")

    made = [setup.passkeys.login_options().public_key for _ in range(50)]

    assert await keys_of(world, "accounts") == before
    assert len({one["challenge"] for one in made}) == 50
    assert all(one["allowCredentials"] == [] for one in made)


async def test_an_answer_logs_in_once(world, setup):
    """Of many requests with one answer one gets a session, also from an authenticator that does not count."""
    await setup.with_passkey(device=(device := Authenticator(counts=False)))
    answer = setup.shown(device)

    first = await asyncio.gather(*(setup.passkeys.login(answer) for _ in range(5)))

    assert [type(one) for one in first].count(LoginSucceeded) == 1
    assert await setup.passkeys.login(answer) == PasskeyRefused()


@pytest.mark.parametrize(
    "wrong",
    [
        {"flags": PRESENT},
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"challenge": b64(bytes(38))},
        {"handle": ""},
        {"handle": b64(bytes(32))},
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(world, setup, wrong):
    """No user verified, another page or domain, a challenge that is none, no account: nothing begins."""
    session = await setup.with_passkey()

    assert await setup.passkeys.login(setup.shown(**wrong)) == PasskeyRefused()

    assert await setup.sessions.list("ada") == (session,)
    assert await setup.by_passkey()


async def test_another_account_is_not_opened(world, setup):
    """The passkey of one user with the user handle of another: neither is logged in."""
    await setup.with_passkey("ada")
    await setup.with_passkey("bob", device=(other := Authenticator()))

    assert await setup.passkeys.login(setup.shown(other, handle=setup.device.keys[0].handle)) == PasskeyRefused()
    assert (await setup.by_passkey(other)).issued.session.user == "bob"


async def test_a_copied_passkey_is_refused(world, setup):
    """A counter that did not grow is that of a copy; the passkey with the higher count goes on."""
    await setup.with_passkey()
    assert isinstance(await setup.passkeys.login(setup.shown(count=5)), LoginSucceeded)

    assert await setup.passkeys.login(setup.shown(count=5)) == PasskeyRefused()
    assert await setup.passkeys.login(setup.shown(count=4)) == PasskeyRefused()
    assert isinstance(await setup.passkeys.login(setup.shown(count=6)), LoginSucceeded)


async def test_of_two_uses_of_one_count_one_is_refused(world, setup):
    """Also if both were verified before either is stored."""
    await setup.with_passkey()

    answers = await asyncio.gather(*(setup.passkeys.login(setup.shown(count=7)) for _ in range(2)))

    assert {type(one) for one in answers} == {LoginSucceeded, PasskeyRefused}


@pytest.mark.asvs("6.5.6")
async def test_a_removed_passkey_opens_nothing(world, setup):
    """The one that is left does."""
    session = await setup.with_passkey()
    strong = (await setup.by_passkey()).issued.session
    second = Authenticator()
    await setup.added(strong, second)

    assert await setup.passkeys.remove(strong, setup.device.keys[0].id) == FactorsChanged(durable=False)

    assert await setup.by_passkey() == PasskeyRefused()
    assert await setup.by_passkey(second)
    assert session.user == "ada"


async def test_a_disabled_user_gets_no_session(world, setup):
    """Neither one whose sessions are disabled, nor one whose account is; nor one whose account is deleted."""
    await setup.with_passkey()
    await setup.sessions.disable("ada")
    assert await setup.by_passkey() == PasskeyRefused()
    await setup.sessions.enable("ada")

    found = await setup.credentials.load("ada")
    assert await setup.credentials.replace(found, found.changed(disabled=True))
    assert await setup.by_passkey() == PasskeyRefused()

    await setup.accounts.delete_account("ada")
    assert await setup.by_passkey() == PasskeyRefused()
    await setup.sign_up("bob")
    assert await setup.by_passkey() == PasskeyRefused()


async def test_another_account_of_the_name_is_not_opened(world, setup):
    """Who signs up with the name of a deleted account has another user handle."""
    await setup.with_passkey()
    await setup.accounts.delete_account("ada")
    await setup.with_passkey("ada", device=(other := Authenticator()))

    assert await setup.by_passkey() == PasskeyRefused()
    assert (await setup.by_passkey(other)).issued.session.user == "ada"


async def test_a_challenge_is_over_after_five_minutes(world, setup):
    """An answer that comes later is refused, and a new one is not."""
    await setup.with_passkey()
    answer = setup.shown()
    await world.advance(LIFE_MS)

    assert await setup.passkeys.login(answer) == PasskeyRefused()
    assert await setup.by_passkey()


async def test_a_challenge_of_another_purpose_is_refused(world, setup):
    """What was signed to add a passkey, to step up, or as a second step logs no one in."""
    session = await setup.with_passkey()
    asked = await setup.passkeys.step_up_options(session)

    assert await setup.passkeys.login(setup.device.get(asked.public_key)) == PasskeyRefused()
    for purpose in ("register", "second-step", "step-up"):
        challenge = b64(setup.check.challenges.make(purpose))
        assert await setup.passkeys.login(setup.shown(challenge=challenge)) == PasskeyRefused()


async def test_a_change_in_the_middle_of_the_login_wins(world, setup):
    """A session that begins after the end of those of before is ended by the login itself."""
    await setup.with_passkey()
    create = setup.sessions.create

    async def changed_before(*args, **options):
        found = await setup.credentials.load("ada")
        assert await setup.credentials.replace(found, found.changed_over())
        await setup.sessions.revoke_all("ada")
        return await create(*args, **options)

    setup.sessions.create = changed_before

    assert await setup.by_passkey() == PasskeyRefused()
    assert await setup.sessions.list("ada") == ()


@pytest.mark.parametrize("change", [{"epoch": "another"}, {"disabled": True}, {"passkeys": ()}, {"passkeys": "other"}])
async def test_a_change_between_the_check_and_its_use_is_seen(world, setup, change):
    """What comes between is decided anew: by another password, or without the passkey, nothing opens."""
    await setup.with_passkey()
    replace = setup.credentials.replace
    found = await setup.credentials.load("ada")
    if change == {"passkeys": "other"}:
        change = {"passkeys": (found.passkeys[0].used(sign_count=99, synced=False, now_ms=0),)}

    async def changing(before, after):
        setup.credentials.replace = replace
        now = await setup.credentials.load("ada")
        assert await replace(now, now.changed(**change))
        return await replace(before, after)

    setup.credentials.replace = changing

    assert await setup.by_passkey() == PasskeyRefused()


async def test_changes_without_end_are_an_overload(world, setup):
    """After five of them the caller is told to come again."""
    await setup.with_passkey()
    replace = setup.credentials.replace

    async def changing(before, after):
        now = await setup.credentials.load("ada")
        assert await replace(now, now.changed())
        return await replace(before, after)

    setup.credentials.replace = changing

    with pytest.raises(Overloaded):
        await setup.by_passkey()


async def test_a_login_ends_the_row_of_failures(world, setup):
    """After a hundred wrong passwords in a row a passkey makes the password good again, after the wait."""
    await setup.with_passkey()
    for _ in range(100):
        await setup.login("ada", WRONG, address="198.51.100.9")
        await world.advance(HOUR_MS)
    assert isinstance(await setup.login("ada", RIGHT, address=HERE), AttemptThrottled)

    assert await setup.by_passkey()
    assert (await setup.failures())[0] == 0
    await world.advance(HOUR_MS)
    assert isinstance(await setup.login("ada", RIGHT, address=HERE), LoginSucceeded)


async def test_a_rotation_of_the_secret_keeps_the_passkeys(world, setup):
    """Nothing of a passkey was derived from it: also without the secret of before the account is found."""
    await setup.with_passkey()
    (old,) = world.keyring.secrets
    rotated = PasskeyUsers(world, keyring=Keyring(secrets=(ROTATED_SECRET, old)))
    answer = setup.shown()

    assert isinstance(await rotated.passkeys.login(answer), LoginSucceeded)
    assert rotated.sample("tollhouse_older_secret_logins_total", key_id=world.keyring.key_ids()[0]) == 1
    alone = PasskeyUsers(world, keyring=Keyring(secrets=(ROTATED_SECRET,)))
    assert await alone.by_passkey(setup.device)
    assert isinstance(await alone.login("ada"), WrongCredentials)


async def test_logins_are_counted(world, setup):
    """By their outcome, as all logins are."""
    await setup.with_passkey()
    before = setup.logins("ok"), setup.logins("wrong"), setup.logins("refused")
    await setup.by_passkey()
    await setup.passkeys.login(setup.shown(flags=PRESENT))
    await setup.by_passkey(policy="single")

    after = setup.logins("ok"), setup.logins("wrong"), setup.logins("refused")
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]


async def test_without_the_setting_there_are_no_passkeys(world, setup):
    """The error names the setting; accounts go on."""
    await setup.with_passkey()
    setup.accounts = setup.accounts_with()

    with pytest.raises(PasskeysOff) as refused:
        _ = setup.accounts.passkeys
    assert refused.value.setting == "accounts.passkeys.rp_id"
    assert (await setup.accounts.factors.overview("ada")).highest_level == "aal1"
    assert isinstance(await setup.login("ada"), LoginSucceeded)
