"""Sends generated requests to an application in this process, and holds every answer to the same rules.

A Fault has the failure that the application logged as its cause; what an application raises reaches the test as it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from urllib.parse import unquote

from hypothesis import HealthCheck, Phase, settings
from msgspec import Struct

REQUESTS: Final = int(os.environ.get("FUZZ_REQUESTS", "300"))
"""The requests of one run over all targets; `make fuzz` sends 20,000."""
ANSWER_S: Final = 2.0
"""How long an answer may take beyond the wait that the request asks for."""
FIELDS_BYTES: Final = 2_048
"""The most bytes of the RateLimit fields of one answer."""

SUMMARY: Final[list[str]] = []
"""A line for each target, with its answers by status; shown at the end of a run."""

App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
Headers = Sequence[tuple[bytes, bytes]]


class Request(Struct, frozen=True, kw_only=True):
    """A request as a client writes it; `wait_ms` is how long it asks the server to wait."""

    method: str
    path: str
    query: bytes = b""
    headers: Headers = ()
    chunks: tuple[bytes, ...] = (b"",)
    wait_ms: int = 0
    peer: str = "192.0.2.1"


class Answer(Struct, frozen=True, kw_only=True):
    """What came back; a status of 0 is no answer."""

    status: int
    headers: Headers
    body: bytes


class Fault(AssertionError):
    """An answer that breaks a rule."""


def examples(share: float, phases: Sequence[Phase] = tuple(Phase)) -> settings:
    """Return the settings of a test that sends a share of the run's requests."""
    return settings(
        phases=phases,
        max_examples=max(1, round(REQUESTS * share)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class Failures(logging.Handler):
    """Keeps the last exception that an application logged instead of raising it: the cause of a 500."""

    last: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.last = record.exc_info[1]


class Target:
    """One application, on an event loop that lives as long as the test."""

    def __init__(self, app: App, runner: asyncio.Runner, answer_s: float = ANSWER_S) -> None:
        self.app = app
        self.statuses: Counter[int] = Counter()
        self._runner = runner
        self._answer_s = answer_s
        self._failures = Failures(logging.ERROR)
        logging.getLogger().addHandler(self._failures)

    def report(self, name: str) -> None:
        """Add what was sent to the summary of the run."""
        if self.statuses:
            SUMMARY.append(f"{name}: {sum(self.statuses.values()):,} requests, {dict(sorted(self.statuses.items()))}")

    def close(self) -> None:
        """Stop collecting failures."""
        logging.getLogger().removeHandler(self._failures)

    def send(self, request: Request) -> Answer:
        """Send a request and return its answer, which keeps the rules."""
        answer = self._run(lambda: ask(self.app, request), request.wait_ms)
        self.statuses[answer.status] += 1
        if answer.status == 500:
            raise Fault(f"500: {answer.body[:200]!r}") from self._failures.last
        check(answer, request)
        return answer

    def connect(self, scope: dict[str, Any], texts: Sequence[str]) -> None:
        """Open a websocket, send texts and leave; it may end in any way but by a failure."""
        sent = self._run(lambda: _talk(self.app, dict(scope), texts), 0)
        codes = [message.get("code", 1000) for message in sent if message["type"] == "websocket.close"]
        statuses = [message["status"] for message in sent if message["type"].endswith("response.start")]
        self.statuses[next(iter(statuses), 101)] += 1
        if {1011, 4500}.intersection(codes) or 500 in statuses or not sent:
            raise Fault(f"the websocket ended with {sent[-1:]}") from self._failures.last

    def _run(self, work: Callable[[], Coroutine[Any, Any, Any]], wait_ms: int) -> Any:
        """Run the work in time. A machine may stand still for seconds, so what was late is sent once more."""
        self._failures.last = None
        most_s = self._answer_s + wait_ms / 1000
        try:
            return self._runner.run(_within(work(), most_s))
        except TimeoutError:
            return self._runner.run(_within(work(), most_s))


async def _within(work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """Return the result; raise TimeoutError if it came late, also if the event loop was blocked meanwhile."""
    began_s = time.monotonic()
    async with asyncio.timeout(seconds):
        result = await work
    if time.monotonic() - began_s > seconds:
        raise TimeoutError
    return result


def scope_of(request: Request) -> dict[str, Any]:
    """Return the scope that uvicorn makes of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers),
        "client": (request.peer, 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
    }


async def ask(app: App, request: Request) -> Answer:
    """Send one request; the client stays connected until the answer is complete, or is a stream, which has no end."""
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in request.chunks]
    parts[-1]["more_body"] = False
    answered, sent = asyncio.Event(), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if _is_whole(message):
            answered.set()

    await app(scope_of(request), receive, send)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    if len(starts) != 1 or sent[0] is not starts[0] or not answered.is_set():
        raise Fault(f"not one whole answer: {[message['type'] for message in sent]}")
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(status=starts[0]["status"], headers=starts[0].get("headers", ()), body=body)


def _is_whole(message: dict[str, Any]) -> bool:
    """Return True for the last message of an answer, and for the head of a stream, for whose end no client waits."""
    if message["type"] == "http.response.body":
        return not message.get("more_body")
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"])


def check(answer: Answer, request: Request) -> None:
    """Raise Fault for an answer that no client should ever get."""
    if any(byte in name + value for name, value in answer.headers for byte in b"\r\n\x00"):
        raise Fault(f"a header that is two: {answer.headers}")
    if sum(len(value) for name, value in answer.headers if name.lower().startswith(b"ratelimit")) > FIELDS_BYTES:
        raise Fault("RateLimit fields above their bound")
    lengths = [int(value) for name, value in answer.headers if name.lower() == b"content-length"]
    if request.method != "HEAD" and lengths not in ([], [len(answer.body)]):
        raise Fault(f"content-length {lengths} of {len(answer.body)} bytes")


async def _talk(app: App, scope: dict[str, Any], texts: Sequence[str]) -> list[dict[str, Any]]:
    coming: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        *({"type": "websocket.receive", "text": text} for text in texts),
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return coming.pop(0) if coming else {"type": "websocket.disconnect", "code": 1005}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
