"""Accounts: what changes a password, what that ends, and what a login of before may not keep."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import ELSEWHERE, RIGHT, WRONG, Setup
from tests.spec.sessions.test_sessions_resurrection import Interleaved
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.outcomes import (
    AttemptThrottled,
    LoginSucceeded,
    NoAccount,
    PasswordChanged,
    ResetRefused,
    WrongCredentials,
)
from tollhouse.errors import Overloaded, WeakPassword
from tollhouse.keys import UNNAMED
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.verbs.step_up import StepUpRefused

NEW = "canyon lamp brisk orbit"


@pytest.fixture
def setup(world):
    return Setup(world)


async def token_of(setup, user="ada", password=RIGHT, **options):
    return (await setup.login(user, password, **options)).issued.token


async def change(setup, token, password=RIGHT, new=NEW, **options):
    return await setup.accounts.change_password(token, password, new, address=ELSEWHERE, **options)


@pytest.mark.asvs("6.2.2")
@pytest.mark.asvs("6.2.3")
@pytest.mark.asvs("7.4.3")
async def test_a_user_changes_the_password_and_keeps_the_session(setup):
    """It takes the former one; the session has another token then, and all others are over."""
    await setup.sign_up("ada")
    other, own = await token_of(setup), await token_of(setup)

    assert await change(setup, own, WRONG) == WrongCredentials()
    changed = await change(setup, own)

    assert isinstance(changed, PasswordChanged)
    assert changed.removed == 1
    assert [await setup.sessions.verify(token) for token in (other, own)] == [None, None]
    assert (await setup.sessions.verify(changed.rotation.token)).user == "ada"
    assert await setup.login("ada") == WrongCredentials()
    assert isinstance(await setup.login("ada", NEW), LoginSucceeded)
    assert not (await setup.credentials.load("ada")).revoke_due


async def test_a_user_may_leave_the_other_sessions(setup):
    """Without `end_others` they live on, with the password that is new."""
    await setup.sign_up("ada")
    other, own = await token_of(setup), await token_of(setup)

    changed = await change(setup, own, end_others=False)

    assert changed.removed == 0
    assert await setup.sessions.verify(other) is not None


async def test_a_new_password_has_to_keep_the_rules(setup):
    """Nothing is changed for one that is easy to guess."""
    await setup.sign_up("ada")
    own = await token_of(setup)

    with pytest.raises(WeakPassword):
        await change(setup, own, new="Summer2026Summer2026")

    assert await setup.sessions.verify(own) is not None
    assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_a_token_gives_no_further_guesses_at_the_password(setup):
    """A session has ten wrong passwords and then those of any client; without a live session nothing is charged."""
    await setup.sign_up("ada")
    own = await token_of(setup)

    answers = [await change(setup, own, WRONG) for _ in range(16)]

    assert answers[:15] == [WrongCredentials()] * 15
    assert isinstance(answers[15], AttemptThrottled)
    assert await change(setup, "v1.none") == StepUpRefused(reason="over")


async def test_a_session_that_ends_meanwhile_is_not_kept(setup, world):
    """The password is changed, and no session is."""
    await setup.sign_up("ada")
    own = await token_of(setup)
    before = await setup.credentials.load("ada")
    await setup.sessions.revoke_all("ada")
    encoded = NEW.encode()

    changed = await setup.accounts._password_change._new_password.replace_password(before, encoded, token=own)

    assert changed.rotation is None
    assert isinstance(await setup.login("ada", NEW), LoginSucceeded)


async def change_meanwhile(setup):
    assert isinstance(await setup.accounts.set_password("ada", NEW), PasswordChanged)


async def disable_meanwhile(setup):
    await setup.accounts.disable("ada")
    await setup.accounts.enable("ada")


async def delete_meanwhile(setup):
    await setup.accounts.delete_account("ada")


@pytest.mark.parametrize("policy", ["default", "asking"])
@pytest.mark.parametrize("overtake", [change_meanwhile, disable_meanwhile, delete_meanwhile])
async def test_a_login_that_a_change_overtakes_keeps_no_session(world, setup, overtake, policy):
    """At each point of a login: a new password, a disable, a delete. What began before it is over, and is told so."""
    for point in (1, 2, 3):  # behind the first look at the account, before the second, and behind that
        await setup.accounts.add_account("ada", RIGHT)
        if policy == "asking":
            await setup.login("ada", policy=policy)
        ending = Setup(world)
        store = Interleaved(world.stores.accounts, point, lambda: overtake(setup))
        ending.credentials = RedisCredentials(store, world.keyring, world.metrics, UNNAMED)
        ending.accounts = ending.accounts_with()

        answer = await ending.login("ada", policy=policy)

        assert store.overtaken
        assert (answer == WrongCredentials()) == (point < 3)
        assert await setup.sessions.list("ada") == ()
        if isinstance(answer, CapReached):
            assert isinstance(await setup.sessions.resume(answer.ticket), SessionRefused)
        await setup.accounts.delete_account("ada")


async def test_a_step_up_that_a_change_overtakes_ends_its_session(world, setup):
    """Who shows the former password behind a change loses the session."""
    await setup.sign_up("ada")
    own = await token_of(setup)
    ending = Setup(world)
    store = Interleaved(world.stores.accounts, 2, lambda: replaced(setup))
    ending.credentials = RedisCredentials(store, world.keyring, world.metrics, UNNAMED)
    ending.accounts = ending.accounts_with()

    assert await ending.accounts.reauthenticate(own, RIGHT, address=ELSEWHERE) == WrongCredentials()

    assert await setup.sessions.list("ada") == ()


async def replaced(setup):
    """Store a change, of which the end of the sessions has not come yet."""
    before = await setup.credentials.load("ada")
    await setup.credentials.replace(before, before.changed_over())


async def test_the_next_login_ends_what_a_crash_left(setup):
    """A new password is stored, and the process ends before the sessions do: the next login ends them first."""
    await setup.sign_up("ada")
    left = await token_of(setup)
    await replaced(setup)

    answer = await setup.login("ada")

    assert await setup.sessions.verify(left) is None
    assert (await setup.sessions.verify(answer.issued.token)).user == "ada"
    assert not (await setup.credentials.load("ada")).revoke_due


async def test_a_change_that_always_comes_too_late_is_given_up(world, setup):
    """After five changes by others in between it is an overload, and nothing was changed."""
    await setup.sign_up("ada")
    own = await token_of(setup)

    class Contended(RedisCredentials):
        async def replace(self, before, after):
            return None

    setup.credentials = Contended(world.stores.accounts, world.keyring, world.metrics, UNNAMED)
    setup.accounts = setup.accounts_with()
    with pytest.raises(Overloaded):
        await change(setup, own)


@pytest.mark.asvs("6.3.6", "6.4.1", "6.4.3")
async def test_a_mailed_token_allows_one_new_password(setup):
    """It ends all sessions and begins none, and is used then; a disabled account has no use for it."""
    await setup.sign_up("ada")
    own, made = await token_of(setup), await setup.accounts.issue_reset_token("Ada")
    reset = setup.accounts.reset_password

    assert made.token not in repr(made)
    assert await reset("ada", made.token + "0", NEW) == ResetRefused()
    with pytest.raises(WeakPassword):
        await reset("ada", made.token, "Summer2026Summer2026")
    assert isinstance(await reset("ada", made.token, NEW), PasswordChanged)

    assert await reset("ada", made.token, RIGHT) == ResetRefused()
    assert await setup.sessions.verify(own) is None
    assert isinstance(await setup.login("ada", NEW), LoginSucceeded)
    again = await setup.accounts.issue_reset_token("ada")
    await setup.accounts.disable("ada")
    assert await reset("ada", again.token, RIGHT) == ResetRefused()


@pytest.mark.asvs("6.4.1")
async def test_a_token_is_good_for_half_an_hour_and_its_name_alone(world, setup):
    """A token of another name, of no account, too old, or no token at all is refused alike."""
    await setup.sign_up("ada")
    await setup.sign_up("eve")
    made, unknown = [await setup.accounts.issue_reset_token(user) for user in ("ada", "nobody")]
    reset = setup.accounts.reset_password

    assert unknown.expires_at == made.expires_at == world.now_ms + 1_800_000
    assert len(unknown.token) == len(made.token)
    _, key_id, until, mac = made.token.split(".")
    others = [f"r2.{key_id}.{until}.{mac}", f"r1.0badc0de.{until}.{mac}", f"r1.{key_id}.x.{mac}", "", "é", "." * 200]
    for user, token in [("eve", made.token), ("nobody", unknown.token), *[("ada", other) for other in others]]:
        assert await reset(user, token, NEW) == ResetRefused()
    await world.advance(1_800_000)
    assert await reset("ada", made.token, NEW) == ResetRefused()


@pytest.mark.asvs("6.3.7")
async def test_an_application_can_tell_the_user_of_a_new_password(setup, world):
    """The events of the user have one of each change, once, however often its call is repeated."""
    await setup.sign_up("ada")
    await change(setup, await token_of(setup))
    await setup.accounts.set_password("ada", RIGHT)
    await setup.accounts.delete_account("ada")

    stream = await world.command("sessions", "KEYS", "*:events")
    texts = [str(await world.command("sessions", "XRANGE", key, "-", "+")) for key in stream]

    assert sum(text.count("password-changed") for text in texts) == 2
    assert sum(text.count("account-deleted") for text in texts) == 1


async def test_a_repeated_note_writes_no_second_event(world):
    """`sessions/note` finds its own call."""
    run = world.stores.sessions.run
    keys, args = (UNNAMED.user_epoch("0a", "0a" * 16), UNNAMED.session_events("0a")), ("ada", "a" * 26, "x", 60_000, "")

    assert [await run("sessions/note", keys, args) for _ in range(2)] == [[1], [0]]
    await world.command("sessions", "HSET", keys[0], "dis", 1)
    assert await run("sessions/note", keys, ("ada", "b" * 26, "x", 60_000, "")) == [1]


async def test_an_operator_sets_a_password_of_an_account(setup):
    """All sessions end; without an account nothing is done."""
    await setup.sign_up("ada")
    own = await token_of(setup)

    assert isinstance(await setup.accounts.set_password("Ada", NEW), PasswordChanged)
    assert await setup.accounts.set_password("eve", NEW) == NoAccount()

    assert await setup.sessions.verify(own) is None
    assert (await setup.accounts.status("ada")).password_changed_at is not None


@pytest.mark.asvs("6.2.8", "6.2.9")
async def test_a_long_password_is_verified_in_full(setup):
    """One of 1,024 bytes that differs in the last is another; letter case and spaces count."""
    phrase = "canyon lamp brisk orbit tandem walrus cartwheel violin " * 18
    long = phrase + "x" * (1_023 - len(phrase))
    await setup.accounts.add_account("ada", long + "y")

    assert await setup.login("ada", long + "z") == WrongCredentials()
    assert await setup.login("ada", long.upper() + "y") == WrongCredentials()
    assert isinstance(await setup.login("ada", long + "y"), LoginSucceeded)


@pytest.mark.asvs("6.2.10")
async def test_a_password_is_good_until_it_is_changed(world, setup):
    """No login asks for another one, ten years later."""
    await setup.sign_up("ada")

    await world.advance(10 * 365 * 86_400_000)

    assert isinstance(await setup.login("ada"), LoginSucceeded)
    assert (await setup.accounts.status("ada")).password_changed_at is None


async def test_of_two_resets_at_once_one_sets_the_password(setup):
    """A token is good once, also for requests side by side."""
    await setup.sign_up("ada")
    token = (await setup.accounts.issue_reset_token("ada")).token

    answers = await asyncio.gather(*(setup.accounts.reset_password("ada", token, NEW) for _ in range(2)))

    assert sorted(type(answer).__name__ for answer in answers) == ["PasswordChanged", "ResetRefused"]
