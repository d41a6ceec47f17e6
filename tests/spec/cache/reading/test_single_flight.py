"""Single flight: one piece of work for several callers of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tollhouse.cache.reading.single_flight import Flight, NoValue, SingleFlight
from tollhouse.cache.reading.wait_graph import RunningLoad


class Work:
    """Work that ends when the test resolves its future."""

    def __init__(self) -> None:
        self.began = 0
        self.cancelled = 0
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def __call__(self, _: Flight[str]) -> Coroutine[Any, Any, str]:
        return self._run()

    async def _run(self) -> str:
        self.began += 1
        try:
            return await self.end
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def start(
    flights: SingleFlight[str], name: str, work: Callable[[Flight[str]], Coroutine[Any, Any, str]]
) -> Flight[str]:
    """Start work under a name."""
    return flights.start(name, work, RunningLoad(flights, name, "family"))


async def value_of(flight: Flight[str]) -> str:
    """Wait as a caller that has joined."""
    await flight.ended()
    return flight.result()


async def settle() -> None:
    """Run every task that can make progress."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def flights() -> SingleFlight[str]:
    return SingleFlight()


@pytest.fixture
async def work() -> Work:
    return Work()


async def test_all_callers_get_the_result_of_one_run(flights: SingleFlight[str], work: Work):
    """The work runs once, and every caller that joined has its value."""
    flight = start(flights, "a", work)
    waiters = [asyncio.create_task(value_of(flight)) for _ in range(5)]
    await settle()
    assert flights.find("a") is flight

    work.end.set_result("value")

    assert await asyncio.gather(*waiters) == ["value"] * 5
    assert work.began == 1
    assert flights.find("a") is None


async def test_all_callers_get_the_error(flights: SingleFlight[str], work: Work):
    """An error of the work reaches every caller that joined, each as an object of its own with the same content."""
    flight = start(flights, "a", work)
    waiters = [asyncio.create_task(value_of(flight)) for _ in range(3)]
    await settle()
    error = KeyError("mine")

    work.end.set_exception(error)

    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert [repr(each) for each in errors] == ["KeyError('mine')"] * 3
    assert len({id(each) for each in errors}) == 3


async def test_a_cancelled_caller_leaves_the_work_to_the_others(flights: SingleFlight[str], work: Work):
    """Cancelling one waiter does not cancel the work."""
    flight = start(flights, "a", work)
    leaves, stays = (asyncio.create_task(value_of(flight)) for _ in range(2))
    await settle()

    leaves.cancel()
    await settle()
    work.end.set_result("value")

    assert await stays == "value"
    assert leaves.cancelled()
    assert work.cancelled == 0


async def test_the_last_caller_to_leave_ends_the_work(flights: SingleFlight[str], work: Work):
    """Work is cancelled when its last caller leaves, and cannot be joined while it ends."""
    flight = start(flights, "a", work)
    waiters = [asyncio.create_task(value_of(flight)) for _ in range(2)]
    await settle()

    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    found = flights.find("a")
    await settle()

    assert found is None
    assert work.cancelled == 1


async def test_work_on_its_way_out_is_not_joined(flights: SingleFlight[str]):
    """Work that takes time to end after its last caller left cannot be joined."""
    ended = asyncio.Event()

    async def slow_to_end(_: Flight[str]) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await ended.wait()
        return "never"

    flight = start(flights, "a", slow_to_end)
    only = asyncio.create_task(value_of(flight))
    await settle()

    only.cancel()
    await settle()
    found, done = flights.find("a"), flight.task.done()
    ended.set()
    await asyncio.wait([flight.task])

    assert (found, done) == (None, False)


async def test_work_that_has_ended_is_not_joined(flights: SingleFlight[str]):
    """Work that has ended cannot be joined, even before its callers have run."""

    async def at_once(_: Flight[str]) -> str:
        return "value"

    flight = start(flights, "a", at_once)
    await asyncio.sleep(0)

    assert flight.task.done()
    assert flights.find("a") is None
    assert await value_of(flight) == "value"


async def test_a_closed_flight_cannot_be_joined_until_it_is_opened_again(flights: SingleFlight[str], work: Work):
    """A closed flight cannot be joined until it is opened again."""
    flight = start(flights, "a", work)

    flight.close()
    shut = flights.find("a")
    flight.reopen()

    assert shut is None
    assert flights.find("a") is flight
    work.end.set_result("value")
    await value_of(flight)


async def test_a_later_flight_takes_the_name(flights: SingleFlight[str]):
    """The latest flight is the one to join; the end of an earlier one does not hide it."""
    first, second = Work(), Work()
    early = start(flights, "a", first)
    late = start(flights, "a", second)

    first.end.set_result("early")
    values = [await value_of(early)]
    await settle()
    found = flights.find("a")
    second.end.set_result("late")

    assert found is late
    assert [*values, await value_of(late)] == ["early", "late"]


async def test_closing_ends_the_flights_in_progress(flights: SingleFlight[str]):
    """After aclose nothing runs, whether or not there was a flight."""
    work = [Work(), Work()]
    for number, each in enumerate(work):
        start(flights, str(number), each)
    await settle()

    await flights.aclose()
    await flights.aclose()

    assert [each.cancelled for each in work] == [1, 1]


async def test_an_error_without_callers_is_not_reported(flights: SingleFlight[str]):
    """A flight whose callers have all left fails silently: no warning about an exception that was never retrieved."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    work = Work()
    flight = start(flights, "a", work)
    await settle()

    work.end.set_exception(KeyError("mine"))
    await settle()
    del flight
    asyncio.get_running_loop().set_exception_handler(None)

    assert reports == []


async def test_a_caller_stops_waiting_after_its_bound(flights: SingleFlight[str], work: Work):
    """A caller that joined waits no longer than its bound; the work goes on for the others."""
    flight = start(flights, "a", work)
    stays = asyncio.create_task(value_of(flight))
    await settle()

    in_time = await flight.ended(0)
    work.end.set_result("value")

    assert (in_time, await stays) == (False, "value")


async def test_a_flight_knows_that_its_starter_left(flights: SingleFlight[str], work: Work):
    """An error counts as that of a starter that left, and no result does."""
    other = Work()
    failing, working = start(flights, "a", work), start(flights, "b", other)
    starters = [asyncio.create_task(flight.lead()) for flight in (failing, working)]
    others = [asyncio.create_task(flight.ended()) for flight in (failing, working)]
    await settle()
    for starter in starters:
        starter.cancel()
    await settle()

    work.end.set_exception(KeyError("mine"))
    other.end.set_result("value")

    assert await asyncio.gather(*others) == [True, True]
    assert (failing.concerns_starter_alone, working.concerns_starter_alone) == (True, False)


async def test_an_error_is_the_starters_while_it_waits(flights: SingleFlight[str], work: Work):
    """The error of a flight whose starter has stayed is that of all who joined."""
    flight = start(flights, "a", work)
    starter, other = asyncio.create_task(flight.lead()), asyncio.create_task(flight.ended())
    await settle()

    work.end.set_exception(KeyError("mine"))
    await asyncio.wait([starter, other])

    assert isinstance(starter.exception(), KeyError)
    assert not flight.concerns_starter_alone


async def test_a_later_caller_can_leave_out_flights_that_began_before_it(flights: SingleFlight[str], work: Work):
    """`find` with `since` returns a flight only if it began after that."""
    began = flights.started
    flight = start(flights, "a", work)

    assert flights.find("a", began) is flight
    assert flights.find("a", flights.started) is None
    work.end.set_result("value")
    await value_of(flight)


async def test_no_value_is_for_the_starter_alone(flights: SingleFlight[str]):
    """Work that found no value says so to its starter; nothing is said before it ends, or if it was cancelled."""
    work, stopped = Work(), Work()
    empty, cancelled = start(flights, "a", work), start(flights, "b", stopped)
    before = empty.concerns_starter_alone
    await settle()

    work.end.set_exception(NoValue())
    cancelled.task.cancel()
    await asyncio.wait([empty.task, cancelled.task])

    assert (before, empty.concerns_starter_alone, cancelled.concerns_starter_alone) == (False, True, False)
