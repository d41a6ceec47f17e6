"""Receivers: what a future has reaches what stands in its place."""

from __future__ import annotations

import asyncio

import pytest

from tollhouse.runtime.receiver import hand_over


@pytest.fixture
async def source() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


@pytest.fixture
async def receiver() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


async def test_a_receiver_has_the_result_of_a_future(
    source: asyncio.Future[int], receiver: asyncio.Future[int]
) -> None:
    """It has it when the future is done, not before."""
    hand_over(source, receiver)
    await asyncio.sleep(0)
    assert not receiver.done()

    source.set_result(7)

    assert await receiver == 7


async def test_a_receiver_has_the_error_of_a_future(source: asyncio.Future[int], receiver: asyncio.Future[int]) -> None:
    """An error is received as an error."""
    hand_over(source, receiver)

    source.set_exception(ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        await receiver


async def test_a_cancellation_is_an_error_too(source: asyncio.Future[int], receiver: asyncio.Future[int]) -> None:
    """A receiver of a future that is cancelled waits no longer."""
    hand_over(source, receiver)

    source.cancel()
    await asyncio.sleep(0)

    assert isinstance(receiver.exception(), asyncio.CancelledError)


async def test_a_receiver_that_is_done_gets_nothing(source: asyncio.Future[int], receiver: asyncio.Future[int]) -> None:
    """It keeps the outcome that it has, and an error that comes late is no error that nothing has read."""
    hand_over(source, receiver)
    receiver.set_result(1)

    source.set_exception(ZeroDivisionError())
    await asyncio.sleep(0)

    assert receiver.result() == 1
