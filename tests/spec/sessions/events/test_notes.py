"""Events about accounts: in the stream of the user's sessions, and none that stops the change that it tells of."""

from __future__ import annotations

import logging

from tests.spec.sessions.events.test_reader import read
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.sessions import Sessions

NOTE = "sessions/note"


async def test_a_reader_finds_what_happened_to_an_account(world):
    """An event has the user, the kind, and the session in which it happened, if there was one."""
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics)
    events = AccountEvents(world.stores.sessions, world.keyring, UNNAMED)
    reader = sessions.events(user="ada")
    assert (await reader.read()).events == ()

    await events.write("totp-added", "ada", "a" * 26)
    await events.write("recovery-code-used", "ada")

    found = [(event.kind, event.user, event.sid) for event in await read(reader, 2)]
    assert found == [("totp-added", "ada", "a" * 26), ("recovery-code-used", "ada", None)]


async def test_an_event_that_cannot_be_written_is_logged(world, caplog):
    """The change that it tells of is stored: it is not answered as if it were not."""

    class Down:
        async def run_durably(self, script, keys, args):
            assert script == NOTE
            raise StoreUnavailable("sessions", "not-sent", "down for a test")

    with caplog.at_level(logging.WARNING, "tollhouse.sessions"):
        await AccountEvents(Down(), world.keyring, UNNAMED).write("totp-added", "ada")

    (record,) = caplog.records
    assert record.getMessage().startswith('event lost kind="totp-added"')
    assert "ada" not in caplog.text
