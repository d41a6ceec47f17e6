"""What sessions leave in the store: no secrets, no names in keys, and an event for every change."""

from __future__ import annotations

import pytest

from tests.sessions import verified
from tests.spec.stored import assert_sound, everything, flat
from tollhouse.keys import UNNAMED
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions

POLICIES = {
    "default": SessionPolicy(idle_ms=3_600_000, absolute_ms=86_400_000),
    "single": SessionPolicy(idle_ms=3_600_000, absolute_ms=86_400_000, cap=1),
}


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def events(world, tag):
    """Return (kind, user, sid) of a shard's events."""
    found = []
    for _, *fields in await world.command("sessions", "XRANGE", UNNAMED.session_events(tag), "-", "+"):
        texts = [text.decode() for text in flat(fields)]
        event = dict(zip(texts[::2], texts[1::2], strict=True))
        assert set(event) == {"at", "kind", "user", "sid"}
        found.append((event["kind"], event["user"], event["sid"]))
    return found


async def test_every_change_writes_its_event(world, sessions):
    """Created, evicted, revoked, revoked-all and expired: each change is an event, a touch and a refusal are none."""
    first = await sessions.create("ada", policy="single")
    second = await sessions.create("ada", policy="single")
    await world.advance(120_000)
    await verified(sessions, second.token)
    await sessions.revoke("eve", second.session.sid)
    await sessions.revoke("ada", second.session.sid)
    third, fourth = await sessions.create("ada"), await sessions.create("ada")
    await sessions.revoke_all("ada", keep=fourth.session)
    world.step_back(-2 * 3_600_000)
    await verified(sessions, fourth.token)

    assert await events(world, first.token.digest[:2]) == [
        ("created", "ada", first.session.sid),
        ("evicted", "ada", first.session.sid),
        ("created", "ada", second.session.sid),
        ("revoked", "ada", second.session.sid),
        ("created", "ada", third.session.sid),
        ("created", "ada", fourth.session.sid),
        ("revoked-all", "ada", fourth.session.sid),
        ("expired", "ada", fourth.session.sid),
    ]


async def test_events_are_bounded_in_number_and_time(world, sessions):
    """A shard keeps about its newest 10,000 events, and all go 30 days after the last."""
    issued = await sessions.create("ada")
    key = UNNAMED.session_events(issued.token.digest[:2])
    for _ in range(12_000):
        await world.command("sessions", "XADD", key, "*", "kind", "older")

    await sessions.create("ada")

    assert await world.command("sessions", "XLEN", key) < 10_200
    await world.advance(30 * 86_400_000)
    assert await world.command("sessions", "EXISTS", key) == 0


async def test_no_secret_is_in_the_store_and_no_name_in_a_key(world, sessions):
    """P10, S4-59: no value holds the secret of a token, and no key the name of a user or a device."""
    user = "ada.lovelace@example.com"
    issued = [await sessions.create(user, device="laptop-of-ada") for _ in range(3)]
    await world.advance(120_000)
    for each in issued:
        await verified(sessions, each.token)
    await sessions.revoke(user, issued[0].session.sid)
    await sessions.revoke_all(user, keep=issued[1].session)

    stored = [entry async for entry in everything(world, "sessions")]

    assert len(stored) == 8, "record, index, events, two epochs, and the memos of three sessions"
    for key, value in stored:
        assert not any(word in key.lower() for word in ("lovelace", "example", "laptop"))
        assert not any(each.token.secret in key or each.token.secret.encode() in value for each in issued)
    await assert_sound(world)
