"""The push lane: it listens as long as it is wanted, goes where the primary goes, and says when it missed something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.failures.fake_sentinel import PATIENCE_S, Refused, Simple, resp
from tests.failures.primaries import Primary, Told, at
from tollhouse.stores.discovery.primary_history import FailoverPause
from tollhouse.stores.reconnecting import ConnectionConfig
from tollhouse.stores.subscriber import Subscriber
from tollhouse.stores.transport.connection import Connection
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import StoreUrl


class Ear:
    """A listener, and what it handed on."""

    def __init__(self, finder: Told, heartbeat_timeout_s: float = 1.0) -> None:
        assert not isinstance(finder.address, str)
        self.heard: list[bytes] = []
        self.missed = 0
        self.begun = 0
        self.prepared: list[str] = []
        self.changed = asyncio.Event()
        common = ConnectionConfig(
            url=StoreUrl(target=finder.address),
            locator=finder,
            dialer=Dialer(),
            scripts=(),
            prepare=self._prepare,
            timing=ConnectionTiming(heartbeat_s=0.02, heartbeat_timeout_s=heartbeat_timeout_s),
        )
        self.listener = Subscriber(
            common,
            name="test",
            channel="news",
            on_message=self._hear,
            on_gap=self._miss,
            on_subscribed=self._begin,
        )

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                await self.changed.wait()
                self.changed.clear()

    def _hear(self, payload: bytes) -> None:
        self.heard.append(payload)
        self.changed.set()

    def _miss(self) -> None:
        self.missed += 1
        self.changed.set()

    def _begin(self) -> None:
        self.begun += 1
        self.changed.set()

    async def _prepare(self, _: Connection, server: ServerInfo) -> None:
        self.prepared.append(server.primary)
        self.changed.set()


def push(primary: Primary, *parts: str) -> None:
    """Send a push to everybody who is connected."""
    for connection in primary.connections:
        connection.transport.write(b">%d\r\n" % len(parts) + b"".join(resp(part) for part in parts))


@asynccontextmanager
async def listening(**timing: float) -> AsyncIterator[tuple[Ear, Told, Primary]]:
    """An ear that listens at a primary which subscribed it."""
    primary = await Primary(subscribing).open()
    finder = Told(at(primary))
    ear = Ear(finder, **timing)
    ear.listener.start()
    try:
        await primary.until(lambda: "PING" in primary.verbs())
        yield ear, finder, primary
    finally:
        await ear.listener.aclose()
        await primary.close()


def subscribing(command: list[str]) -> object:
    return Simple("PONG")


async def test_it_begins_once_and_ends_for_good() -> None:
    """A second start changes nothing, and after the end nothing begins; to end what never began is no error."""
    async with listening() as (ear, _, primary):
        ear.listener.start()
        await primary.until(lambda: primary.verbs().count("PING") >= 3)
        assert primary.accepted == 1
    ear.listener.start()
    await ear.listener.aclose()

    assert primary.accepted == 1
    idle = Ear(Told(at(primary)))
    await idle.listener.aclose()
    idle.listener.start()
    assert primary.accepted == 1


async def test_a_silent_connection_is_asked_and_a_lost_one_made_again() -> None:
    """A connection without messages is asked whether it stands; when it is lost, that is said, and another is made."""
    async with listening() as (ear, _, primary):
        await primary.until(lambda: primary.verbs(1).count("PING") >= 3)

        primary.drop()
        await ear.until(lambda: ear.missed == 1)
        await primary.until(lambda: primary.verbs(2).count("PING") >= 3)

        assert ear.prepared == ["abc", "abc"]


async def test_it_says_when_messages_are_heard() -> None:
    """It is told each time that messages are heard from then on, and each time that they are not any more."""
    async with listening() as (ear, _, primary):
        await ear.until(lambda: ear.begun == 1)
        assert ear.missed == 0

        primary.drop()
        await ear.until(lambda: ear.begun == 2)

        assert ear.missed == 1


async def test_a_connection_that_answers_nothing_is_given_up() -> None:
    """A heartbeat that is not answered in time counts as the loss of the connection."""
    async with listening(heartbeat_timeout_s=0.02) as (ear, _, primary):
        primary.mute = True
        await ear.until(lambda: ear.missed == 1)
        primary.mute = False

        await primary.until(lambda: "PING" in primary.verbs(primary.accepted) and primary.accepted > 1)


async def test_it_goes_where_the_primary_goes() -> None:
    """A new generation ends the connection to the old primary, and the new one is prepared before it counts."""
    other = await Primary(subscribing, name="other").open()
    async with listening() as (ear, finder, primary):
        await primary.until(lambda: primary.verbs().count("PING") >= 2)
        finder.tell(FailoverPause(wait_s=1.0))
        assert ear.missed == 0

        finder.move(other)
        await ear.until(lambda: len(ear.prepared) == 2)

        assert ear.missed == 1
        assert ear.prepared == ["abc", "other"]
        finder.move(other)
        assert primary.accepted == 1
    await other.close()


async def test_a_move_before_the_first_connection_is_no_loss() -> None:
    """News that come before anything is connected only say where to connect."""
    primary = await Primary(subscribing).open()
    finder = Told(at(primary))
    ear = Ear(finder)

    finder.move(primary)
    ear.listener.start()
    await primary.until(lambda: "PING" in primary.verbs())

    assert ear.missed == 0
    await ear.listener.aclose()
    await primary.close()


async def test_only_messages_are_handed_on() -> None:
    """Of what a server pushes, messages are handed on, and everything else is not."""
    async with listening() as (ear, _, primary):
        push(primary, "subscribe", "news", "1")
        push(primary, "invalidate", "x")
        push(primary, "message", "news", "hello")
        async with asyncio.timeout(PATIENCE_S):
            await ear.changed.wait()

        assert ear.heard == [b"hello"]


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """While nobody can be listened to there is one warning, however often it is tried."""
    primary = await Primary(lambda _: Refused("NOPERM no channel for you")).open()
    ear = Ear(Told(at(primary)))

    with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
        ear.listener.start()
        await primary.until(lambda: primary.accepted >= 3)

    assert caplog.text.count("cannot listen to announcements") == 1
    await ear.listener.aclose()
    await primary.close()
