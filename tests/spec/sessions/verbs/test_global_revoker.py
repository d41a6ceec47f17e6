"""The end of every session of every user: at once, for good, and without a look at any record."""

from __future__ import annotations

import pytest

from tests.sessions import counted, events_of, neighbour_of, verified
from tests.spec.stored import keys_of
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.explainer import SessionEnd

USERS = ("ada", "eve", "bob")
ONE = {"default": SessionPolicy(idle_ms=3_600_000, absolute_ms=3_600_000, cap=1)}


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


@pytest.mark.asvs("7.4.5")
async def test_all_sessions_of_all_users_are_over(world, sessions):
    """ASVS 7.4.5: every token opens nothing from then on, logins after it live, and why is told."""
    before = [await sessions.create(user) for user in USERS]
    await world.advance(1_000)

    result = await sessions.revoke_everyone()

    after = [await sessions.create(user) for user in USERS]
    assert result.durable is (await sessions.revoke_everyone()).durable
    again = [await sessions.create(user) for user in USERS]
    for issued in (*before, *after):
        assert await verified(sessions, issued.token) is None
        assert (await sessions.why(issued.token)).reason == "everyone"
    for issued in again:
        assert await verified(sessions, issued.token) == issued.session
    assert {issued.session.sid for issued in again} == {
        session.sid for user in USERS for session in await sessions.list(user)
    }
    assert counted(world, "revoke_everyone", "ok") == 2


async def test_no_epoch_is_made_for_a_tag_without_sessions(world, sessions):
    """A tag that no user has keeps no key, and gets no event."""
    issued = await sessions.create("ada")

    await sessions.revoke_everyone()

    assert await keys_of(world, "sessions", "*:everyone") == [UNNAMED.global_epoch(issued.token.digest[:2])]
    assert await events_of(world, issued.token) == ["created"]
    assert await events_of(world, issued.token, "") == ["everyone"]


@pytest.mark.parametrize("calls", [1, 2, 4])
async def test_a_late_copy_of_a_call_ends_no_later_login(world, sessions, calls):
    """A server that runs a copy of one of the last four calls, after they were answered, raises no epoch."""
    sent = []

    class Remembering:
        async def run_durably(self, script, keys, args):
            sent.append((script, keys, args))
            return await world.stores.sessions.run_durably(script, keys, args)

    tag = (await sessions.create("ada")).token.digest[:2]
    for _ in range(calls):
        await Sessions(Remembering(), world.keyring, world.metrics).revoke_everyone()
    await world.advance(1_000)
    later = await sessions.create("ada")

    await world.stores.sessions.run(*next(call for call in sent if call[1][0] == UNNAMED.global_epoch(tag)))

    assert await verified(sessions, later.token) == later.session


async def test_another_namespace_is_left_alone(world, sessions):
    """Two applications on a server: one logs its users out, those of the other stay."""
    shop = Sessions(world.stores.sessions, world.keyring, world.metrics, namespace=Namespace("shop"))
    issued = await shop.create("ada")

    await sessions.revoke_everyone()

    assert await verified(shop, issued.token) == issued.session


async def test_why_tells_what_came_first(world, sessions):
    """A session that was over before the end of everyone was not ended by it."""
    issued = await sessions.create("ada")
    await sessions.revoke("ada", issued.session.sid)
    at = world.now_ms
    await world.advance(1_000)

    await sessions.revoke_everyone()

    assert await sessions.why(issued.token) == SessionEnd(reason="revoked", at=at)


@pytest.mark.parametrize(
    "removes", ["a login at the cap", "an end of all of the user's", "an end of that one", "a verify"]
)
async def test_what_removes_a_record_later_did_not_end_it(world, removes):
    """After the end of everyone, records go for other reasons: why tells the first one, and no event another."""
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, ONE)
    issued, neighbour = await sessions.create("ada"), await sessions.create(neighbour_of(world, "ada"))
    await world.advance(1_000)
    await sessions.revoke_everyone()
    ended_at = world.now_ms
    await world.advance(1_000)

    match removes:
        case "a login at the cap":
            await sessions.create("ada")
        case "an end of all of the user's":
            await sessions.revoke_all("ada", cause="revoked-by-admin")
        case "an end of that one":
            await sessions.revoke("ada", issued.session.sid)
        case _:
            assert await verified(sessions, issued.token) is None
            assert await events_of(world, issued.token) == ["created"]

    assert not await keys_of(world, "sessions", f"*{issued.token.sid}")
    assert await sessions.why(issued.token) == SessionEnd(reason="everyone", at=ended_at)
    assert await sessions.why(neighbour.token) == SessionEnd(reason="everyone", at=ended_at)


class Failing:
    """A store that fails at one call."""

    def __init__(self, store, number):
        self.store, self.left = store, number

    async def run(self, script, keys, args):
        return await self.store.run(script, keys, args)

    async def run_durably(self, script, keys, args):
        self.left -= 1
        if self.left == 0:
            raise StoreUnavailable("sessions", "not-sent", "cut")
        return await self.store.run_durably(script, keys, args)


@pytest.mark.parametrize(("number", "outcome"), [(1, "ambiguous"), (256, "ambiguous")])
async def test_an_end_of_everyone_that_failed_in_part_says_so(world, sessions, number, outcome):
    """Some users are logged out, so the outcome is ambiguous whichever call failed; a repeated call ends the rest."""
    issued = [await sessions.create(user) for user in USERS]
    failing = Sessions(Failing(world.stores.sessions, number), world.keyring, world.metrics)

    with pytest.raises(StoreUnavailable) as raised:
        await failing.revoke_everyone()

    assert raised.value.outcome == outcome
    await failing.revoke_everyone()
    assert [await verified(sessions, each.token) for each in issued] == [None] * 3
