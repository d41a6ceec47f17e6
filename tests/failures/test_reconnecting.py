"""A reconnecting connection to a server that refuses, is silent, comes back, or takes over as the primary."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.failures.fake_sentinel import PATIENCE_S
from tests.failures.primaries import Primary, answered, at, refused, scene
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.stores.arguments import BULK_BYTES
from tollhouse.stores.discovery.locator import Address
from tollhouse.stores.transport.connection import IN_FLIGHT_MAX


async def test_a_replica_is_refused_at_the_handshake() -> None:
    """A server that is a replica is never sent a call: the reason says what it is."""
    async with scene(old=Primary(role="replica"), wait_s=0.2) as s:
        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert raised.value.outcome == "not-sent"
        assert "the server is a replica" in raised.value.reason
        assert s.old.seen == []
        assert "readonly" in {signal.why for _, signal in s.locator.suspected}


async def test_a_silent_server_costs_one_wait() -> None:
    """A server that accepts and never answers delays one call for the waiting time; the attempt is bounded."""
    async with scene(wait_s=0.02, connect_s=0.04) as s:
        s.old.mute = True
        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])
        assert raised.value.outcome == "not-sent"

        await s.old.until(lambda: s.old.accepted == 1 and not s.old.connections)
        async with asyncio.timeout(PATIENCE_S):
            while "no answer within 0.04 s" not in raised.value.reason:  # until the end of the attempt is noticed
                with pytest.raises(StoreUnavailable) as raised:
                    await s.store.run("test/once", [], [])
                await asyncio.sleep(0)


async def test_a_large_value_takes_a_connection_of_its_own() -> None:
    """A call with a value above 16 KiB has another connection than small ones, which so never wait behind it."""
    async with scene() as s:
        await s.store.run("test/once", [], [b"x" * BULK_BYTES])
        await s.store.run("test/once", [], ["small", b"x" * (BULK_BYTES + 1)])
        await s.store.run("test/once", [], [7])

        assert [number for number, _ in s.old.seen] == [1, 2, 1]
        assert s.store.connections == 2


async def test_closing_ends_an_attempt_to_connect() -> None:
    """A store that is closed while it connects fails its calls at once, and closes the connection."""
    async with scene() as s:
        s.old.mute = True
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.old.until(lambda: s.old.accepted == 1)

        await s.store.aclose()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "not-sent"
        await s.old.until(lambda: not s.old.connections)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("tollhouse-connect")]


async def test_a_new_primary_closes_the_breaker() -> None:
    """Calls that fail without being tried, because the old primary is away, are tried at once on a new one."""
    async with scene(wait_s=0.05, pause_min_s=60.0, pause_max_s=60.0, probe_s=60.0) as s:
        await s.old.close()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await s.store.run("test/once", [], [])

        s.locator.move(s.new)

        assert await s.store.run("test/once", [], []) == [1]


async def test_callers_share_one_attempt() -> None:
    """However many calls wait for a connection, there is one for all of them."""
    async with scene() as s:
        assert await asyncio.gather(*(s.store.run("test/once", [], []) for _ in range(20))) == [[1]] * 20

        assert s.old.accepted == s.store.connections == 1


async def test_a_late_reply_is_a_hint() -> None:
    """A call without a reply in time is a hint for the locator to look for the primary again."""
    async with scene(deadline_s=0.1) as s:
        s.old.holding = True
        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])
        assert raised.value.outcome == "ambiguous"

        assert [signal.why for _, signal in s.locator.suspected] == ["stall"]
        assert s.store.in_flight == 1


async def test_a_refused_plain_command_is_a_hint_too() -> None:
    """A plain command that is refused by a replica is `rejected`, and its primary is looked for again."""
    async with scene() as s:
        s.old.answer = refused("READONLY You can't write against a read only replica.")
        with pytest.raises(StoreUnavailable) as raised:
            await s.store.command("SET", "x", "1")
        assert raised.value.outcome == "rejected"

        assert [signal.why for _, signal in s.locator.suspected] == ["readonly"]


async def test_a_burst_waits_for_room_inside_its_deadline() -> None:
    """Calls beyond the bound on calls in flight wait, in order, and are sent as replies come; the connection stays."""
    burst = IN_FLIGHT_MAX + 900
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.old.holding = True
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [number])) for number in range(burst)]
        await s.old.until(lambda: len(s.old.seen) == IN_FLIGHT_MAX + 1)

        s.old.holding = False
        s.old.release()

        assert await asyncio.gather(*calls) == [[1]] * burst
        assert [int(command[-1]) for _, command in s.old.seen[1:]] == list(range(burst))
        assert s.store.connections == 1


async def test_a_call_without_room_in_time_was_not_sent() -> None:
    """A call that waits in vain for room on the connection is `not-sent` at its deadline."""
    async with scene(deadline_s=0.2, stall_s=PATIENCE_S) as s:
        await answered(s.store)
        s.old.seen.clear()
        s.old.holding = True
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(IN_FLIGHT_MAX + 1)]

        failures = await asyncio.gather(*calls, return_exceptions=True)
        await s.old.until(lambda: len(s.old.seen) >= IN_FLIGHT_MAX)

        outcomes = [failure.outcome for failure in failures if isinstance(failure, StoreUnavailable)]
        assert outcomes == ["ambiguous"] * IN_FLIGHT_MAX + ["not-sent"]
        assert len(s.old.seen) == IN_FLIGHT_MAX


async def test_calls_that_wait_for_room_go_to_the_next_primary() -> None:
    """When the primary is replaced, calls that wait for room on its connection are sent to the new one."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.old.holding = True
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(IN_FLIGHT_MAX + 3)]
        await s.old.until(lambda: len(s.old.seen) == IN_FLIGHT_MAX + 1)

        s.locator.move(s.new)

        assert await asyncio.gather(*calls[IN_FLIGHT_MAX:]) == [[1]] * 3
        assert len(s.new.seen) == 3
        await asyncio.gather(*calls, return_exceptions=True)


async def test_an_event_during_an_attempt_does_not_start_another() -> None:
    """When the primary is replaced during an attempt to reconnect, that attempt goes on, and ends at the new one."""
    async with scene(connect_s=0.05) as s:
        await s.store.run("test/once", [], [])
        s.old.mute = True
        s.old.drop()
        call = asyncio.ensure_future(s.store.run("test/again", [], []))
        await s.old.until(lambda: s.old.accepted == 2)

        s.locator.move(s.new)

        assert await call == [1]
        assert s.new.accepted == 1


async def test_a_primary_that_was_replaced_meanwhile_gets_no_call() -> None:
    """If another primary is named while a connection is set up, the connection is dropped, and the call goes there."""
    async with scene() as s:
        named = iter([s.locator.address])

        async def locate() -> Address:
            return next(named, at(s.new))

        s.locator.locate = locate

        assert await s.store.run("test/once", [], []) == [1]
        assert (s.old.accepted, s.old.seen, len(s.new.seen)) == (1, [], 1)


async def test_a_call_that_outlives_its_store_is_not_sent_again() -> None:
    """A call that may be sent twice, and waits for its reply when the store is closed, fails with that reason."""
    async with scene() as s:
        s.old.holding = True
        call = asyncio.ensure_future(s.store.run("test/again", [], []))
        await s.old.until(lambda: len(s.old.seen) == 1)

        await s.store.aclose()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert "closed" in raised.value.reason
        assert len(s.old.seen) == 1


async def test_a_server_that_cannot_be_found_for_a_mistake_says_so() -> None:
    """A mistake in the configuration that the locator finds is the reason of the calls that fail for it."""
    async with scene() as s:

        async def locate() -> Address:
            raise ConfigurationError("TOLLHOUSE_URL", "embedded://", "the program is missing")

        s.locator.locate = locate

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])
        assert "the program is missing" in raised.value.reason


async def test_time_in_which_the_process_stood_still_is_no_silence_of_the_server() -> None:
    """Nothing can arrive while the event loop is blocked, so a call does not give up for it before its deadline."""
    async with scene(wait_s=0.1) as s:
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.old.until(lambda: s.old.accepted == 1)

        time.sleep(0.15)  # noqa: ASYNC251 - the event loop stands still

        assert await call == [1]
