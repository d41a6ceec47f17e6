"""The rules of the fuzz test can fail: each has an application that breaks it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.fuzz.harness import Fault, Request, Target

GET = Request(method="GET", path="/")
HEADERS = {
    "a header that is two": [(b"x-key", b"a\r\nset-cookie: b")],
    "a length that is wrong": [(b"content-length", b"9")],
    "fields without a bound": [(b"ratelimit", b"x" * 3_000)],
}


def answering(status: int, headers: list[tuple[bytes, bytes]], *, ends: bool = True) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"text", "more_body": not ends})

    return app


def failing() -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            raise KeyError("a defect")
        except KeyError:
            logging.getLogger("an application").exception("it failed")
        await answering(500, [])(scope, receive, send)

    return app


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise KeyError("a defect")


async def silent(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await asyncio.Event().wait()


async def blocking(scope: Any, receive: Any, send: Any) -> None:
    threading.Event().wait(0.1)
    await answering(200, [])(scope, receive, send)


async def talking(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.close", "code": 1011})


def sent_to(app: Callable[..., Coroutine[Any, Any, None]], answer_s: float = 2.0) -> None:
    with asyncio.Runner() as runner:
        target = Target(app, runner, answer_s)
        try:
            target.send(GET)
        finally:
            target.close()


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_wrong_head_is_a_fault(headers: list[tuple[bytes, bytes]]) -> None:
    """An answer whose head would harm a client is a fault."""
    with pytest.raises(Fault):
        sent_to(answering(200, headers))


def test_half_an_answer_is_a_fault() -> None:
    """An answer that does not end is a fault."""
    with pytest.raises(Fault):
        sent_to(answering(200, [], ends=False))


def test_a_500_is_a_fault_with_its_cause() -> None:
    """A 500 is a fault, and what the application logged is its cause."""
    with pytest.raises(Fault) as found:
        sent_to(failing())

    assert isinstance(found.value.__cause__, KeyError)


def test_what_an_application_raises_is_a_fault() -> None:
    """An exception that no framework answered ends the test as it is."""
    with pytest.raises(KeyError):
        sent_to(raising)


def test_a_hang_is_a_fault() -> None:
    """An application that does not answer in time is a fault."""
    with pytest.raises(TimeoutError):
        sent_to(silent, answer_s=0.05)


def test_a_blocked_event_loop_is_a_fault() -> None:
    """An application that answers late because it blocks the event loop is a fault too."""
    with pytest.raises(TimeoutError):
        sent_to(blocking, answer_s=0.05)


def test_a_websocket_that_failed_is_a_fault() -> None:
    """A websocket that ends with the close code of a failure is a fault."""
    with asyncio.Runner() as runner:
        target = Target(talking, runner)
        with pytest.raises(Fault):
            target.connect({"type": "websocket"}, [])
        target.close()
