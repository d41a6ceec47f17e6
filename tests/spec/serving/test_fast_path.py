"""Requests that are answered below ASGI, and those that are left to it after all."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.http.client import settings_at
from tests.http.twins import Line
from tollhouse.runtime.receiver import Receiver
from tollhouse.serving import ServingConfig
from tollhouse.serving.fast_path import new_scope

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


class Waiting:
    """An application whose one route decides nothing by itself: it keeps the receivers."""

    def __init__(self) -> None:
        self.receivers: list[Receiver] = []

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        await receive()

    def fast_connection(self) -> Waiting:
        return self

    def repeated(self, *_: object) -> None: ...

    def route(self, *_: object) -> Waiting:
        return self

    def start(self, _: bytes, receiver: Receiver) -> Receiver:
        self.receivers.append(receiver)
        return receiver

    def respond(self, outcome: bytes) -> tuple[int, bytes, bytes]:
        return 200, b"content-length: %d\r\n" % (100 // len(outcome)), outcome


def lines_to(app: Any, many: int = 1) -> list[Line]:
    config = ServingConfig(lambda: app, settings_at("fake://"))
    config.load()
    return [Line(config) for _ in range(many)]


async def ignore(scope: Any, receive: Any, send: Any) -> None: ...


async def test_a_scope_begins_as_that_of_uvicorn() -> None:
    """An application sees no difference: a scope has what uvicorn gives to it before the request line is read."""
    (line,) = lines_to(ignore)

    HttpToolsProtocol.on_message_begin(line.protocol)

    assert new_scope(line.protocol, line.protocol.headers) == line.protocol.scope
    await line.end()


async def test_a_response_is_written_when_the_outcome_comes() -> None:
    """It does not wait for a turn of the event loop, and until then the server has a task to wait for."""
    app = Waiting()
    (line,) = lines_to(app)
    line.protocol.data_received(POST)
    assert len(line.state.tasks) == 1

    app.receivers[0].set_result(b"*" * 50)

    assert line.wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + b"*" * 50]
    assert not line.state.tasks
    await line.end()


async def test_a_mistake_in_a_response_fails_no_other_request() -> None:
    """What comes after it in the same turn is answered; the event loop logs the mistake, and its connection ends."""
    app, logged = Waiting(), list[dict[str, Any]]()
    first, second = lines_to(app, 2)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    for line in (first, second):
        line.protocol.data_received(POST)

    for receiver, outcome in zip(app.receivers, (b"", b"*"), strict=True):
        receiver.set_result(outcome)

    assert [type(context["exception"]) for context in logged] == [ZeroDivisionError]
    assert (first.wire.writes, first.wire.is_closed) == ([], True)
    assert (len(second.wire.writes), second.wire.is_closed) == (1, False)
    for line in (first, second):
        await line.end()


async def test_a_request_that_the_server_cancels_wants_no_outcome() -> None:
    """A take that was not sent yet is not sent; cancelled twice, it reaches the application once."""
    app = Waiting()
    (line,) = lines_to(app)
    line.protocol.data_received(POST)
    (task,) = line.state.tasks

    for _ in range(2):
        task.cancel(msg="the grace is over")

    assert app.receivers[0].done()
    assert line.wire.writes == []
    await line.rest()
    assert b"".join(line.wire.writes).startswith(b"HTTP/1.1 500 ")
    await line.end()
