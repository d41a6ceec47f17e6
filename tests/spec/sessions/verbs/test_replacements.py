"""Visitors, and what a login replaces: their sessions keep data before a login, and their data may go along with it."""

from __future__ import annotations

import pytest

from tests.sessions import events_of, verified
from tests.spec.stored import assert_sound, keys_of, records
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import DATA_BYTES_MAX, SessionData

HOUR_MS = 3_600_000
POLICIES = {
    "default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS),
    "anonymous": SessionPolicy(idle_ms=HOUR_MS // 2, absolute_ms=24 * HOUR_MS),
    "refusing": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="refuse"),
    "asking": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="ask"),
}
CART = {"cart": ["socks"], "seen": 3}
VISITOR = "anonymous:" + "a" * 26


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def test_a_visitor_has_a_session_with_data(world, sessions):
    """It says that it is anonymous, ends as its policy says, and does all that a session does."""
    visitor = await sessions.create_anonymous(CART, device="a phone")

    session = await verified(sessions, visitor.token)
    assert session == visitor.session
    assert session.anonymous
    assert (session.policy, session.device) == ("anonymous", "a phone")
    assert session.idle_expires_at - session.created_at == HOUR_MS // 2
    assert await sessions.data(visitor.token) == SessionData(values=CART, version=1)
    assert (await sessions.revoke(session.user, session.sid)).found
    assert await verified(sessions, visitor.token) is None
    assert not (await sessions.create("ada")).session.anonymous
    await assert_sound(world)


async def test_visitors_spread_over_the_hash_tags(world, sessions):
    """Each visitor has a name of its own, so no shard has them all, and none sees another's session."""
    visitors = [await sessions.create_anonymous({"n": number}) for number in range(40)]

    assert len({visitor.session.user for visitor in visitors}) == 40
    assert len({record.tag for record in await records(world)}) > 20
    assert await sessions.list(visitors[0].session.user) == (visitors[0].session,)


@pytest.mark.parametrize("data", [{}, {"cart": None}, None, [1], {"no name": 1}, {"big": "x" * DATA_BYTES_MAX}])
async def test_without_data_there_is_no_session(world, sessions, data):
    """A visitor who leaves nothing costs the store nothing: no key is written."""
    with pytest.raises(InvalidInput):
        await sessions.create_anonymous(data)

    assert await keys_of(world, "sessions") == []


@pytest.mark.parametrize("options", [{"policy": "forever"}, {"policy": None}, {"device": "d" * 121}])
async def test_a_visitor_is_checked_as_a_user_is(world, sessions, options):
    """A policy that does not exist and a label that is too long are errors before anything is written."""
    with pytest.raises(InvalidInput):
        await sessions.create_anonymous(CART, **options)

    assert await keys_of(world, "sessions") == []


async def test_no_user_can_look_like_a_visitor(world, sessions):
    """A name of this form is given to visitors alone; names that are merely like it are users'."""
    with pytest.raises(InvalidInput) as raised:
        await sessions.create(VISITOR)

    assert (raised.value.field, raised.value.value) == ("user", VISITOR)
    assert await keys_of(world, "sessions") == []
    for name in ("anonymous", "anonymous:ada", VISITOR.upper(), VISITOR + "a"):
        assert not (await sessions.create(name)).session.anonymous


async def test_a_visitors_data_goes_along_with_a_login(world, sessions):
    """The cart survives the login, the token and the sid do not; what the login itself brings wins."""
    visitor = await sessions.create_anonymous(CART)

    issued = await sessions.create("ada", replaces=visitor.token, carry=True, data={"seen": 4, "theme": "dark"})

    assert issued.session.sid != visitor.session.sid
    assert (await sessions.data(issued.token)).values == {"cart": ["socks"], "seen": 4, "theme": "dark"}
    assert await verified(sessions, visitor.token) is None
    assert (await sessions.why(visitor.token)).reason == "replaced"
    assert await events_of(world, visitor.token) == ["created", "replaced"]
    assert len(await records(world)) == 1
    await assert_sound(world)


async def test_data_stays_behind_unless_it_is_asked_for(world, sessions):
    """Without `carry` the login ends the visitor's session with all that is in it."""
    visitor = await sessions.create_anonymous(CART)

    issued = await sessions.create("ada", replaces=visitor.token)

    assert (await sessions.data(issued.token)).values == {}
    assert await verified(sessions, visitor.token) is None


async def test_a_users_data_is_never_another_logins(world, sessions):
    """On a shared browser nothing of the former user's session reaches the next one's, nor one's own of before."""
    former = await sessions.create("eve", data=CART)

    issued = await sessions.create("ada", replaces=former.token, carry=True)

    assert (await sessions.data(issued.token)).values == {}
    assert await verified(sessions, former.token) is None


@pytest.mark.parametrize("token", [None, "v1", "another"])
async def test_there_may_be_nothing_to_carry(world, sessions, token):
    """A login without a session before it, or with one that is over, begins as any."""
    if token == "another":
        over = await sessions.create_anonymous(CART)
        await sessions.revoke(over.session.user, over.session.sid)
        token = over.token

    issued = await sessions.create("ada", replaces=token, carry=True, data={"theme": "dark"})

    assert (await sessions.data(issued.token)).values == {"theme": "dark"}


async def test_a_refused_login_leaves_the_visitor_alone(world, sessions):
    """At the cap, or while the user is disabled, the visitor keeps session and data."""
    visitor = await sessions.create_anonymous(CART)
    await sessions.create("ada", policy="refusing")
    await sessions.disable("eve")

    answers = [await sessions.create(user, policy="refusing", replaces=visitor.token) for user in ("ada", "eve")]

    assert answers == [SessionRefused(reason="at-cap"), SessionRefused(reason="disabled")]
    assert await verified(sessions, visitor.token) is not None
    assert (await sessions.data(visitor.token)).values == CART


async def test_data_waits_with_the_login(world, sessions):
    """A login that asks keeps the data under its ticket; the visitor's session ends when the login goes on."""
    visitor, first = await sessions.create_anonymous(CART), await sessions.create("ada", policy="asking")

    asked = await sessions.create("ada", policy="asking", replaces=visitor.token, carry=True)
    assert isinstance(asked, CapReached)
    assert await verified(sessions, visitor.token) is not None
    resumed = await sessions.resume(asked.ticket, end=[first.session.sid], replaces=visitor.token)

    assert isinstance(resumed, Issued)
    assert (await sessions.data(resumed.token)).values == CART
    assert await verified(sessions, visitor.token) is None


async def test_data_that_would_be_too_much_is_an_error_before_anything(world, sessions):
    """If what the login brings does not fit beside the visitor's data, nothing begins and nothing ends."""
    visitor = await sessions.create_anonymous({"big": "x" * (DATA_BYTES_MAX - 10)})

    with pytest.raises(InvalidInput):
        await sessions.create("ada", replaces=visitor.token, carry=True, data={"more": "x" * 20})

    assert await verified(sessions, visitor.token) is not None
    assert len(await records(world)) == 1


async def test_an_end_that_fails_is_told(world, sessions):
    """If the visitor's session cannot be ended after the other began, the error says that steps of the call ran."""
    visitor = await sessions.create_anonymous(CART)

    class Down:
        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            if script == "sessions/revoke":
                raise StoreUnavailable("sessions", "not-sent", "down")
            return await world.stores.sessions.run_durably(script, keys, args)

    with pytest.raises(StoreUnavailable) as raised:
        await Sessions(Down(), world.keyring, world.metrics, POLICIES).create("ada", replaces=visitor.token)

    assert raised.value.outcome == "ambiguous"
