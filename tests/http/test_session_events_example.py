"""The example that posts session events to a webhook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from examples.session_events import (
    ATTEMPTS,
    LONGEST_PAUSE_S,
    TOLERANCE_S,
    Message,
    StreamRefused,
    Webhook,
    WrongVariable,
    follow,
    is_genuine,
    main,
    sign,
)
from tests.http.client import ADMIN_KEY, settings_at
from tests.http.sockets import listening
from tests.http.streams import PATH, PATIENCE_S, Served, served_with

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = Message("7-0-0a", "created", '{"user":"ada"}')


class Receiver:
    """A receiver of webhooks: it answers with the statuses that a test gives, and then accepts."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.attempts = 0
        self.changes = asyncio.Condition()
        self.accepted: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        assert is_genuine(SECRET, headers, body, time.time())
        self.attempts += 1
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            async with self.changes:
                self.accepted.append((headers["webhook-id"], msgspec.json.decode(body)))
                self.changes.notify_all()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def until(self, is_done: Callable[[], bool]) -> None:
        """Wait until what was accepted is what a test waits for."""
        async with asyncio.timeout(PATIENCE_S), self.changes:
            await self.changes.wait_for(is_done)

    async def has(self, count: int) -> None:
        """Wait until so many webhooks were accepted."""
        await self.until(lambda: len(self.accepted) >= count)

    async def has_kind(self, kind: str) -> None:
        """Wait until the last webhook that was accepted is of a kind."""
        await self.until(lambda: self.accepted[-1][1]["type"] == f"session.{kind}")


async def no_time(_: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def running(served: Served, receiver: Receiver, folder: Path) -> AsyncGenerator[None]:
    """Run the example beside a service and a receiver, until the block ends as a process does that is killed."""
    async with listening(receiver, settings_at("fake://")) as port:
        variables = {
            "TOLLHOUSE_EVENTS": f"{served.client.base_url}{PATH}?user=ada".replace("//v1", "/v1"),
            "TOLLHOUSE_ADMIN_KEY": ADMIN_KEY,
            "WEBHOOK_URL": f"http://127.0.0.1:{port}",
            "WEBHOOK_SECRET": SECRET,
            "EVENTS_POSITION": str(folder / "position"),
            "EVENTS_FAILED": str(folder / "failed"),
        }
        task = asyncio.create_task(main(variables, sleep=no_time))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not served.streams.open:
                    await served.client.get("/livez")
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_events_reach_a_webhook_over_refusals_interruptions_and_restarts(tmp_path: Path) -> None:
    """Each event is accepted once while the example runs; one that starts again misses nothing and repeats ids only."""
    receiver = Receiver(500, 503)
    async with served_with() as served:
        sessions = served.tollhouse.sessions
        async with running(served, receiver, tmp_path):
            first = await sessions.create("ada")
            await receiver.has(1)
            served.streams.end()
            second = await sessions.create("ada")
            await receiver.has(2)
        assert receiver.attempts == 4
        await sessions.revoke("ada", first.session.sid)
        async with running(served, receiver, tmp_path):
            await receiver.has_kind("revoked")

    told = [(body["type"], body["data"]["sid"]) for _, body in receiver.accepted]
    begun = [("session.created", issued.session.sid) for issued in (first, second)]
    assert told[:2] == begun
    assert told[-1] == ("session.revoked", first.session.sid)
    assert set(told) == {*begun, told[-1]}
    assert len({message_id for message_id, _ in receiver.accepted}) == 3
    assert not (tmp_path / "failed").exists()


async def test_what_is_never_accepted_is_kept_in_a_file(tmp_path: Path) -> None:
    """A webhook is posted a bounded number of times, after pauses that grow to a bound; then the next one follows."""
    pauses: list[float] = []
    receiver = Receiver(*[500] * ATTEMPTS)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=receiver)) as client:
        webhook = Webhook(client, "http://receiver", SECRET, tmp_path / "failed", sleep=sleep)
        await webhook.post(MESSAGE)
        await webhook.post(Message("8-0-0a", "revoked", "{}"))

    assert receiver.attempts == ATTEMPTS + 1
    assert len(pauses) == ATTEMPTS - 1
    assert max(pauses) <= LONGEST_PAUSE_S
    assert [message_id for message_id, _ in receiver.accepted] == ["8-0-0a"]
    (line,) = (tmp_path / "failed").read_bytes().splitlines()
    assert msgspec.json.decode(line) == {"type": "session.created", "data": {"user": "ada"}}


async def test_a_wrong_key_ends_the_example(tmp_path: Path) -> None:
    """What no waiting mends is raised, with the answer of the service."""
    async with served_with() as served, asyncio.timeout(PATIENCE_S):
        with pytest.raises(StreamRefused, match="401"):
            await follow(served.client, PATH, "no key", tmp_path / "position", print)  # type: ignore[arg-type] - unused


@pytest.mark.parametrize(
    ("name", "value"), [("TOLLHOUSE_ADMIN_KEY", ""), ("WEBHOOK_URL", ""), ("WEBHOOK_SECRET", "whsec_not base64")]
)
async def test_a_wrong_variable_ends_the_example_before_the_stream_begins(name: str, value: str) -> None:
    """The error names it; at the first event it would be too late, because that is lost."""
    variables = {"TOLLHOUSE_ADMIN_KEY": ADMIN_KEY, "WEBHOOK_URL": "http://receiver", "WEBHOOK_SECRET": SECRET}

    with pytest.raises(WrongVariable, match=name):
        await main({**variables, name: value})


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The example signs as the specification's own vector."""
    signature = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("changed", "body", "later_s"),
    [
        ({"webhook-id": "other"}, b"{}", 0),
        ({"webhook-timestamp": "1001"}, b"{}", 0),
        ({"webhook-timestamp": "soon"}, b"{}", 0),
        ({"webhook-signature": "v1,AAAA"}, b"{}", 0),
        ({}, b"[]", 0),
        ({}, b"{}", TOLERANCE_S + 1),
    ],
)
def test_a_receiver_tells_what_is_not_genuine(changed: dict[str, str], body: bytes, later_s: int) -> None:
    """Another id, time, body or signature is refused, and so is a webhook that is old; among several one must fit."""
    good = f"v1,AAAA {sign(SECRET, '7-0-0a', 1000, b'{}')}"
    headers = {"webhook-id": "7-0-0a", "webhook-timestamp": "1000", "webhook-signature": good}

    assert is_genuine(SECRET, headers, b"{}", 1000)
    assert not is_genuine(SECRET, {**headers, **changed}, body, 1000 + later_s)
