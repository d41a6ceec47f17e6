"""Work for a client that may go away: who gets its result, and what becomes of one that no client receives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tollhouse.asgi.disconnect import while_connected
from tollhouse.errors import StoreUnavailable


class Connection:
    """The receiving side of a client, and what was given back."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.returned: list[str] = []

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def give_back(self, result: str) -> None:
        self.returned.append(result)


async def result() -> str:
    return "result"


async def never() -> str:
    return await asyncio.get_running_loop().create_future()


async def failure() -> str:
    raise ZeroDivisionError


async def test_a_client_that_stays_gets_the_result() -> None:
    """The result is the caller's, and nothing is given back."""
    connection = Connection()

    assert await while_connected(connection.receive, result(), connection.give_back) == "result"
    assert connection.returned == []


async def test_other_messages_do_not_end_the_work() -> None:
    """Only a disconnect does."""
    connection, unread = Connection(), [{"type": "http.request", "body": b""}] * 3

    async def receive() -> Any:
        return unread.pop() if unread else await connection.receive()

    assert await while_connected(receive, result(), connection.give_back) == "result"


async def test_work_ends_when_the_client_goes() -> None:
    """Work in progress is cancelled, and there is nothing to give back."""
    connection = Connection()
    running = asyncio.create_task(while_connected(connection.receive, never(), connection.give_back))
    await asyncio.sleep(0)

    connection.gone.set()

    assert await running is None
    assert connection.returned == []


async def test_a_result_for_a_client_that_is_gone_is_given_back() -> None:
    """If both come at once, the client counts as gone; a store that fails then raises nothing."""
    connection = Connection()
    connection.gone.set()

    async def fail(_: str) -> None:
        raise StoreUnavailable("limits", "not-sent", "it is down")

    assert await while_connected(connection.receive, result(), connection.give_back) is None
    assert connection.returned == ["result"]
    assert await while_connected(connection.receive, result(), fail) is None


@pytest.mark.parametrize("ticks", range(1, 7))
async def test_a_caller_that_is_cancelled_leaves_nothing_behind(ticks: int) -> None:
    """Whenever the cancellation comes, the caller has the result or it is given back, and no task is left."""
    connection, before = Connection(), asyncio.all_tasks()
    running = asyncio.create_task(while_connected(connection.receive, result(), connection.give_back))
    for _ in range(ticks):
        await asyncio.sleep(0)

    running.cancel()
    outcome = (await asyncio.gather(running, return_exceptions=True))[0]

    assert outcome == "result" or isinstance(outcome, asyncio.CancelledError)
    assert connection.returned == ([] if outcome == "result" else ["result"])
    assert asyncio.all_tasks() == before


async def test_errors_pass_through() -> None:
    """An error of the work is the caller's, and so is one of the connection."""
    connection = Connection()

    async def broken() -> Any:
        raise ConnectionError

    with pytest.raises(ZeroDivisionError):
        await while_connected(connection.receive, failure(), connection.give_back)
    with pytest.raises(ConnectionError):
        await while_connected(broken, never(), connection.give_back)
    assert connection.returned == []
