"""What a reader of events can be asked for."""

from __future__ import annotations

import pytest

from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.sessions.sessions import Sessions


@pytest.fixture
def sessions(fake):
    return Sessions(fake.stores.sessions, fake.keyring, fake.metrics)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"after": "yesterday"}, "after"),
        ({"after": ""}, "after"),
        ({"after": 7}, "after"),
        ({"user": ""}, "user"),
        ({"kinds": ["create"]}, "kind"),
        ({"kinds": [None]}, "kind"),
    ],
)
async def test_what_cannot_be_is_refused(sessions, words, field):
    """A position that is no id, no user and a kind that does not exist raise before anything is read."""
    with pytest.raises(InvalidInput) as refused:
        sessions.events(**words)

    assert refused.value.field == field


async def test_a_kind_that_does_not_exist_is_refused_with_the_one_that_may_be_meant(sessions):
    """The remedy names the nearest kind."""
    with pytest.raises(InvalidInput, match="'revoked-all'"):
        sessions.events(kinds=["revoke_all"])


async def test_a_user_is_read_under_every_secret(fake):
    """After a rotation of the secret the events of before and after it are read."""
    old = (b"a secret for tests, 32 bytes or more",)
    before = Sessions(fake.stores.sessions, Keyring(secrets=old), fake.metrics)
    rotated = Keyring(secrets=(b"another secret for tests, 32 bytes", *old))
    after = Sessions(fake.stores.sessions, rotated, fake.metrics)
    reader = after.events(user="ada")
    await reader.read()

    sids = {(await sessions.create("ada")).session.sid for sessions in (before, after)}
    found = set()
    while len(found) < 2:
        found |= {event.sid for event in (await reader.read()).events}

    assert found == sids
