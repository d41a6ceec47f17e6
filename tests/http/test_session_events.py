"""Session events as Server-Sent Events: messages, places to go on from, bounds, and what ends a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.http.client import ADMIN, SERVICE, Service, settings_at
from tests.http.sockets import connection_to, listening
from tests.http.streams import PATH, PATIENCE_S, Served, served_with
from tollhouse.errors import StoreUnavailable
from tollhouse.http.sessions.event_stream import EventStream, EventStreams, Pace
from tollhouse.metrics import Metrics
from tollhouse.sessions.events.event import SessionEvent
from tollhouse.sessions.events.reader import SessionEventBatch
from tollhouse.sessions.tokens import verifier

EVENT = SessionEvent(id="7-0-0a", at=5, kind="created", user="ada", sid="x")


@pytest.fixture(scope="module")
async def streaming() -> AsyncGenerator[Served]:
    async with served_with() as served:
        yield served


async def test_an_administrator_sees_what_happens_to_sessions(streaming: Served) -> None:
    """Each change is a message with the event's id, its kind, and the event as JSON; no token or verifier is in it."""
    async with streaming.stream("?user=ada") as messages:
        issued = await streaming.tollhouse.sessions.create("ada")
        created = await anext(messages)
        rotation = await streaming.tollhouse.sessions.rotate(issued.token)
        rotated = await anext(messages)

    assert (created["event"], rotated["event"]) == ("created", "rotated")
    assert created["data"] == {
        "id": created["id"],
        "at": created["data"]["at"],
        "kind": "created",
        "user": "ada",
        "sid": issued.session.sid,
    }
    shown = repr((created, rotated))
    verifiers = [verifier(streaming.tollhouse.keyring, token) for token in (issued.token, rotation.token)]
    assert not [text for text in verifiers if text is None or text in shown]
    assert issued.token.secret not in shown
    assert rotation.token.secret not in shown
    assert "v1." not in shown


async def test_a_stream_is_kept_by_no_cache_and_no_proxy(streaming: Served) -> None:
    """The response has the media type of Server-Sent Events, no length, and fields against caches and buffers."""
    async with streaming.client.stream("GET", PATH, headers=ADMIN) as response:
        fields = response.headers

    assert fields["content-type"] == "text/event-stream; charset=utf-8"
    assert fields.get_list("cache-control") == ["no-store"]
    assert fields["x-accel-buffering"] == "no"
    assert fields["vary"] == "Authorization, Cookie, X-Api-Key"
    assert "content-length" not in fields


async def test_a_client_goes_on_from_the_last_event_it_saw(streaming: Served) -> None:
    """With Last-Event-ID it gets what happened meanwhile; other users and kinds are left out."""
    query = "?user=eve&kind=created&kind=revoked"
    async with streaming.stream(query) as messages:
        issued = await streaming.tollhouse.sessions.create("eve")
        seen = await anext(messages)
    await streaming.tollhouse.sessions.create("ada")
    await streaming.tollhouse.sessions.rotate(issued.token)
    await streaming.tollhouse.sessions.revoke("eve", issued.session.sid)

    async with streaming.stream(query, Last_Event_ID=seen["id"]) as messages:
        again = [await anext(messages) for _ in range(2)]

    assert [message["event"] for message in again] == ["created", "revoked"]  # the last seconds are repeated
    assert again[0] == seen


async def test_a_place_that_is_not_kept_any_more_is_a_gap(streaming: Served) -> None:
    """A message says why events may be missing, and the stream goes on from its id."""
    async with streaming.stream(Last_Event_ID="1-0-00") as messages:
        old = await anext(messages)
    async with streaming.stream(Last_Event_ID="999999999999999-0-00") as messages:
        ahead = await anext(messages)

    assert (old["event"], old["data"]) == ("gap", {"reason": "trimmed"})
    assert (ahead["event"], ahead["data"]) == ("gap", {"reason": "ahead"})
    assert old["id"] == "0-0-00"
    assert int(ahead["id"].partition("-")[0]) < 10**13


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("", {"Last-Event-ID": "yesterday"}, "Last-Event-ID"),
        ("", {"Last-Event-ID": ""}, "Last-Event-ID"),
        ("", {"Last-Event-ID": "1-0-0g"}, "Last-Event-ID"),
        ("", {"Last-Event-ID": "9" * 10_000}, "Last-Event-ID"),
        ("", {"Last-Event-ID": "1-0-00\xb9"}, "Last-Event-ID"),
        ("?kind=create", {}, "kind"),
        ("?kind=", {}, "kind"),
        ("?user=", {}, "user"),
        ("?user=a%00b", {}, "user"),
        ("?user=a&user=b", {}, "user"),
        ("?users=a", {}, "users"),
    ],
)
async def test_what_cannot_be_streamed_is_400(
    streaming: Served, query: str, headers: dict[str, str], field: str
) -> None:
    """A hostile Last-Event-ID, a kind that does not exist, and no user are refused, and named."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in {**ADMIN, **headers}.items()]

    response = await streaming.client.get(PATH + query, headers=raw)

    assert response.status_code == 400, response.text
    assert response.json()["field"] == field
    assert len(response.content) < 1_000


async def test_only_administrators_see_events(streaming: Served) -> None:
    """401 without a key, 403 with one of a service."""
    statuses = [(await streaming.client.get(PATH, headers=headers)).status_code for headers in ({}, SERVICE)]

    assert statuses == [401, 403]


async def test_head_of_a_stream_ends(streaming: Served) -> None:
    """HEAD has the fields of the stream, no content, and leaves none open."""
    response = await streaming.client.head(PATH, headers=ADMIN)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    async with asyncio.timeout(PATIENCE_S):
        while streaming.streams.open:
            await streaming.client.get("/livez")


async def test_there_are_only_so_many_streams() -> None:
    """Above the bound a request is 503 with the remedy; when a client leaves there is room again."""
    async with served_with(most=1) as served:
        async with served.stream():
            refused = await served.client.get(PATH, headers=ADMIN)
        async with asyncio.timeout(PATIENCE_S):
            while (again := await served.client.head(PATH, headers=ADMIN)).status_code == 503:
                pass

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["type"] == "urn:tollhouse:problem:overloaded"
    assert "end one" in refused.json()["detail"]
    assert again.status_code == 200


async def test_the_end_of_the_application_ends_its_streams() -> None:
    """A stream ends with its last chunk when the application shuts down, whatever the server does."""
    async with served_with() as served, served.stream() as messages:
        served.streams.end()

        assert [message async for message in messages] == []


class Reader:
    """A reader whose polls a test decides: a batch, or None if the store does not answer; the last one is repeated."""

    def __init__(self, *polls: SessionEventBatch | None) -> None:
        self.polls = list(polls)
        self.asked = 0

    async def read(self) -> SessionEventBatch:
        self.asked += 1
        await asyncio.sleep(0)
        poll = self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]
        if poll is None:
            raise StoreUnavailable("sessions", "not-sent", "the test says so")
        return poll


class AsgiClient:
    """A client of a stream without a server; it may stop to take what is sent, and leave."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()
        self.leaves = asyncio.Event()

    async def run(self) -> None:
        async def receive() -> Any:
            await self.leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await self.takes.wait()
            self.parts.put_nowait(message.get("body", b""))

        await self._stream({}, receive, send)


@asynccontextmanager
async def client_of(reader: Reader, pace: Pace) -> AsyncGenerator[AsgiClient]:
    streams = EventStreams(Metrics(), pace=pace)
    client = AsgiClient(EventStream(streams, reader))  # type: ignore[arg-type] - it has what a stream asks for
    async with asyncio.timeout(PATIENCE_S):
        running = asyncio.create_task(client.run())
        assert [await client.parts.get() for _ in range(2)] == [b"", b"retry: 2000\n\n"]
        yield client
        client.leaves.set()
        await running
    assert not streams.open


def batch(*events: SessionEvent, position: str = "9-0-00", more: bool = False) -> SessionEventBatch:
    return SessionEventBatch(events=events, position=position, more=more)


async def test_a_silent_stream_says_that_it_lives_and_how_far_it_is() -> None:
    """The heartbeat is a comment, with an id that moves the place from which the client would go on."""
    async with client_of(Reader(batch()), Pace(poll_s=0, heartbeat_s=0)) as client:
        assert await client.parts.get() == b": still here\nid: 9-0-00\n\n"

    async with client_of(Reader(batch()), Pace(poll_s=0, heartbeat_s=60)) as client:
        for _ in range(20):
            await asyncio.sleep(0)
        assert client.parts.empty()


async def test_a_store_that_is_down_ends_no_stream() -> None:
    """A comment says once that events cannot be read; when they can, the stream goes on."""
    async with client_of(Reader(None, None, batch(EVENT), None, batch()), Pace(poll_s=0)) as client:
        said = [await client.parts.get() for _ in range(3)]

    assert said[0] == said[2] == b": events cannot be read now; the stream goes on when they can\n\n"
    assert b"\nevent: created\n" in said[1]


async def test_the_place_after_an_event_of_a_wrong_clock_is_before_it() -> None:
    """An event ahead of the server's clock is followed by an id up to which nothing is missing."""
    async with client_of(Reader(batch(EVENT, position="6-0-00"), batch()), Pace(poll_s=0)) as client:
        said = [await client.parts.get() for _ in range(2)]

    assert said[0].startswith(b"id: 7-0-0a\n")
    assert said[1] == b": still here\nid: 6-0-00\n\n"


async def test_nothing_waits_for_a_client_that_does_not_read() -> None:
    """While a client takes nothing its stream does not poll, and it ends when the connection does."""
    reader = Reader(batch(*[EVENT] * 200, more=True))
    async with client_of(reader, Pace(poll_s=0)) as client:
        client.takes.clear()
        for _ in range(50):
            await asyncio.sleep(0)
        asked = reader.asked
        for _ in range(50):
            await asyncio.sleep(0)

        assert reader.asked == asked
        assert client.parts.qsize() <= 4 * asked


async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    """When the buffers of its connection are full and `idle_timeout_ms` is over, its stream ends."""
    streams, is_over = EventStreams(Metrics()), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reader: Any = Reader(batch(*[EVENT] * 2_000, more=True))
        await EventStream(streams, reader)(scope, receive, send)
        is_over.set()

    settings = settings_at("fake://", idle_timeout_ms=200)
    async with listening(app, settings) as port, connection_to(port) as client, asyncio.timeout(PATIENCE_S):
        client.pause()
        client.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        await is_over.wait()

    assert not streams.open


async def test_a_request_that_ends_while_it_is_admitted_leaves_room(service: Service) -> None:
    """A client that leaves at once is counted out again."""
    for _ in range(20):
        response = await service.ask("HEAD", PATH, headers=ADMIN)
        assert response.status_code == 200
