"""The subscriber: it reconnects, follows the primary, and reports gaps."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from tests.failures.fake_sentinel import PATIENCE_S, ErrorReply, SimpleString, resp
from tests.failures.primaries import Primary, ScriptedLocator, at
from tollhouse.stores.discovery.primary_history import FailoverPause
from tollhouse.stores.reconnecting import ConnectionConfig
from tollhouse.stores.rights import COSTS
from tollhouse.stores.subscriber import Subscriber
from tollhouse.stores.transport.connection import Connection
from tollhouse.stores.transport.databases import Database, DatabaseChoice
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.transport.redial import ConnectionTiming, Jitter
from tollhouse.stores.urls import StoreUrl


class Recorder:
    """A subscriber, and what it passed on."""

    def __init__(self, locator: ScriptedLocator, jitter: Jitter = random.uniform, **timing: float) -> None:
        assert not isinstance(locator.address, str)
        self.messages: list[bytes] = []
        self.gaps = 0
        self.subscriptions = 0
        self.prepared: list[str] = []
        self.changed = asyncio.Event()
        common = ConnectionConfig(
            url=StoreUrl(target=locator.address),
            database=Database(StoreUrl(target=locator.address), DatabaseChoice()),
            locator=locator,
            dialer=Dialer(),
            scripts=(),
            prepare=self._prepare,
            timing=ConnectionTiming(heartbeat_s=0.02, **timing),
            jitter=jitter,
        )
        self.subscriber = Subscriber(
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
        self.messages.append(payload)
        self.changed.set()

    def _miss(self) -> None:
        self.gaps += 1
        self.changed.set()

    def _begin(self) -> None:
        self.subscriptions += 1
        self.changed.set()

    async def _prepare(self, _: Connection, server: ServerInfo) -> None:
        self.prepared.append(server.primary)
        self.changed.set()


def push(primary: Primary, *parts: str) -> None:
    """Send a push to every connected client."""
    for connection in primary.connections:
        connection.transport.write(b">%d\r\n" % len(parts) + b"".join(resp(part) for part in parts))


@asynccontextmanager
async def listening(**timing: float) -> AsyncIterator[tuple[Recorder, ScriptedLocator, Primary]]:
    """Start a subscriber, and return when it is subscribed."""
    primary = await Primary(subscribing).open()
    locator = ScriptedLocator(at(primary))
    recorder = Recorder(locator, **timing)
    recorder.subscriber.start()
    try:
        await primary.until(lambda: "PING" in primary.verbs())
        yield recorder, locator, primary
    finally:
        await recorder.subscriber.aclose()
        await primary.close()


def subscribing(command: list[str]) -> object:
    return SimpleString("PONG")


async def test_it_starts_once_and_ends_for_good() -> None:
    """A second start changes nothing, and after the end nothing begins; to end what never began is no error."""
    async with listening() as (recorder, _, primary):
        recorder.subscriber.start()
        await primary.until(lambda: primary.verbs().count("PING") >= 3)
        assert primary.accepted == 1
    recorder.subscriber.start()
    await recorder.subscriber.aclose()

    assert primary.accepted == 1
    idle = Recorder(ScriptedLocator(at(primary)))
    await idle.subscriber.aclose()
    idle.subscriber.start()
    assert primary.accepted == 1


async def test_a_silent_connection_is_pinged_and_a_lost_one_made_again() -> None:
    """A silent connection is pinged; when it is lost, the gap is reported and another connection is made."""
    async with listening() as (recorder, _, primary):
        await primary.until(lambda: primary.verbs(1).count("PING") >= 3)

        primary.drop()
        await recorder.until(lambda: recorder.gaps == 1)
        await primary.until(lambda: primary.verbs(2).count("PING") >= 3)

        assert recorder.prepared == ["abc", "abc"]


async def test_it_reports_subscriptions_and_gaps() -> None:
    """`on_subscribed` is called each time that messages arrive from then on, `on_gap` each time that they stop."""
    async with listening() as (recorder, _, primary):
        await recorder.until(lambda: recorder.subscriptions == 1)
        assert recorder.gaps == 0

        primary.drop()
        await recorder.until(lambda: recorder.subscriptions == 2)

        assert recorder.gaps == 1


async def test_a_connection_that_answers_nothing_is_given_up() -> None:
    """A heartbeat that is not answered in time counts as the loss of the connection."""
    async with listening(heartbeat_timeout_s=0.02) as (recorder, _, primary):
        primary.mute = True
        await recorder.until(lambda: recorder.gaps == 1)
        primary.mute = False

        await primary.until(lambda: "PING" in primary.verbs(primary.accepted) and primary.accepted > 1)


async def test_it_goes_where_the_primary_goes() -> None:
    """A new generation closes the connection to the old primary; the new one is prepared before it counts."""
    other = await Primary(subscribing, name="other").open()
    async with listening() as (recorder, locator, primary):
        await primary.until(lambda: primary.verbs().count("PING") >= 2)
        locator.announce(FailoverPause(wait_s=1.0))
        assert recorder.gaps == 0

        locator.move(other)
        await recorder.until(lambda: len(recorder.prepared) == 2)

        assert recorder.gaps == 1
        assert recorder.prepared == ["abc", "other"]
        locator.move(other)
        assert primary.accepted == 1
    await other.close()


async def test_a_move_before_the_first_connection_is_no_loss() -> None:
    """A generation before the first connection only says where to connect."""
    primary = await Primary(subscribing).open()
    locator = ScriptedLocator(at(primary))
    recorder = Recorder(locator)

    locator.move(primary)
    recorder.subscriber.start()
    await primary.until(lambda: "PING" in primary.verbs())

    assert recorder.gaps == 0
    await recorder.subscriber.aclose()
    await primary.close()


async def test_only_messages_are_passed_on() -> None:
    """Of what a server pushes, only messages are passed on."""
    async with listening() as (recorder, _, primary):
        push(primary, "subscribe", "news", "1")
        push(primary, "invalidate", "x")
        push(primary, "message", "news", "hello")
        async with asyncio.timeout(PATIENCE_S):
            await recorder.changed.wait()

        assert recorder.messages == [b"hello"]


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is one warning, however many attempts fail."""
    primary = await Primary(lambda _: ErrorReply("BUSY not now")).open()
    recorder = Recorder(ScriptedLocator(at(primary)))

    with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
        recorder.subscriber.start()
        await primary.until(lambda: primary.accepted >= 3)

    assert caplog.text.count("cannot listen to announcements") == 1
    await recorder.subscriber.aclose()
    await primary.close()


@pytest.mark.parametrize("error", ["WRONGPASS invalid username-password pair", "NOPERM no channel for you"])
async def test_what_only_an_operator_can_mend_is_tried_ever_more_rarely(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each pause is twice as long as the last one, up to a bound, and the log has one line. Once it may, it listens."""
    answer: list[object] = [ErrorReply(error)]
    primary = await Primary(lambda _: answer[0]).open()
    pauses: list[float] = []

    def jitter(_: float, high: float) -> float:
        pauses.append(asyncio.get_running_loop().time())
        return high

    recorder = Recorder(ScriptedLocator(at(primary)), jitter=jitter, refused_pause_min_s=0.02, refused_pause_max_s=0.08)
    with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
        recorder.subscriber.start()
        await primary.until(lambda: primary.accepted >= 6 and not primary.connections)

    lengths = [after - before for before, after in pairwise(pauses)]
    assert [length >= least for length, least in zip(lengths, (0.02, 0.04, 0.08, 0.08), strict=False)] == [True] * 4
    assert caplog.text.count("cannot listen to announcements") == 1
    answer[0] = SimpleString("PONG")
    await recorder.until(lambda: recorder.subscriptions == 1)
    await recorder.subscriber.aclose()
    await primary.close()


async def test_a_new_primary_ends_the_pause_after_a_refusal() -> None:
    """Another server may know the login: it is asked at once, and pauses begin with the shortest one there."""
    primary = await Primary(lambda _: ErrorReply("WRONGPASS invalid username-password pair")).open()
    other = await Primary(lambda _: ErrorReply("WRONGPASS invalid username-password pair"), name="other").open()
    third = await Primary(subscribing, name="third").open()
    locator = ScriptedLocator(at(primary))
    recorder = Recorder(locator, refused_pause_min_s=30.0, refused_pause_max_s=30.0)
    recorder.subscriber.start()
    await primary.until(lambda: primary.accepted == 1 and not primary.connections)

    locator.move(other)
    await other.until(lambda: other.accepted == 1 and not other.connections)
    locator.move(third)
    await recorder.until(lambda: recorder.subscriptions == 1)

    assert (primary.accepted, other.accepted, third.accepted) == (1, 1, 1)
    await recorder.subscriber.aclose()
    for each in (primary, other, third):
        await each.close()


async def test_a_server_that_does_not_answer_is_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    """The log says for how long there was no answer."""
    primary = await Primary(subscribing).open()
    primary.mute = True
    recorder = Recorder(ScriptedLocator(at(primary)), connect_s=0.05)

    with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
        recorder.subscriber.start()
        await primary.until(lambda: primary.accepted >= 2)

    assert vars(caplog.records[0])["reason"]
    await recorder.subscriber.aclose()
    await primary.close()


async def test_an_account_that_may_not_subscribe_is_not_tried_over_and_over(caplog: pytest.LogCaptureFixture) -> None:
    """A refused subscription is logged, and the next attempt waits until an operator had time to mend the account."""
    primary = await Primary(lambda _: ErrorReply("NOPERM no channel for you")).open()
    recorder = Recorder(ScriptedLocator(at(primary)))

    with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
        recorder.subscriber.start()
        await primary.until(lambda: primary.accepted == 1 and not primary.connections)
        await asyncio.sleep(0.2)

    assert primary.accepted == 1
    assert "NOPERM" in vars(caplog.records[0])["reason"]
    assert vars(caplog.records[0])["cost"] == COSTS["SUBSCRIBE"]
    await recorder.subscriber.aclose()
    await primary.close()
