"""`max_unreplicated_ms`: a primary that no replica acknowledges is not trusted for longer than that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.failures.fake_sentinel import PATIENCE_S
from tests.failures.primaries import Primary, Scene, answered, scene
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.primary_history import FailoverPause
from tollhouse.stores.opening import open_stores
from tollhouse.stores.status import check_store
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import urls_by_store

BOUND_S = 0.2


class Replicas:
    """The replicas of a scripted primary, which acknowledge while `follow` is true."""

    def __init__(self, primary: Primary) -> None:
        self.follow = True
        primary.answer = self.answer

    def answer(self, command: list[str]) -> Any:
        return int(self.follow) if command[0] == "WAIT" else 1


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[tuple[Scene, Replicas]]:
    """A store that has made its first call, and whose primary is acknowledged."""
    async with scene(listed=True, max_unreplicated_s=BOUND_S, **options) as s:
        s.locator.promise(1)
        replicas = Replicas(s.old)
        assert await s.store.run("test/once", [], []) == [1]
        await s.old.until(lambda: "WAIT" in s.old.verbs())
        yield s, replicas


async def refusal(s: Scene) -> StoreUnavailable:
    """Call until a call fails, for a bounded time, and return its error."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await s.store.run("test/once", [], [])
            except StoreUnavailable as error:
                return error
            await asyncio.sleep(0.005)


async def test_a_primary_that_no_replica_acknowledges_is_not_used_for_longer_than_the_bound() -> None:
    """While replicas acknowledge, calls go on for many bounds; soon after the last one they fail at once, not sent."""
    async with watched() as (s, replicas):
        await asyncio.sleep(2 * BOUND_S)
        assert await s.store.run("test/once", [], []) == [1]
        began_s, replicas.follow = asyncio.get_running_loop().time(), False

        assert "max_unreplicated_ms" in (await refusal(s)).reason
        assert asyncio.get_running_loop().time() - began_s < 2 * BOUND_S

        sent = s.old.verbs().count("EVALSHA")
        with pytest.raises(StoreUnavailable) as refused:
            await s.store.run("test/again", [], [])
        assert refused.value.outcome == "not-sent"
        with pytest.raises(StoreUnavailable):
            await s.store.run_durably("test/again", [], [])
        assert s.old.verbs().count("EVALSHA") == sent


async def test_it_is_used_again_when_a_replica_acknowledges() -> None:
    """One acknowledgement ends the distrust, without a call that has to try."""
    async with watched() as (s, replicas):
        replicas.follow = False
        await refusal(s)

        replicas.follow = True

        assert await answered(s.store) == [1]


async def test_a_reply_after_the_bound_is_not_taken_as_done() -> None:
    """A call that was sent in time, and answered when the primary is distrusted already, is ambiguous."""
    async with watched() as (s, _):
        s.old.holding = True
        call = asyncio.ensure_future(s.store.run("test/again", [], []))
        await s.old.until(lambda: s.old.verbs().count("EVALSHA") == 2)
        await asyncio.sleep(2 * BOUND_S)

        s.old.release()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"


async def test_a_new_primary_is_trusted_until_its_replicas_had_time_to_follow() -> None:
    """Another primary begins with the whole bound, and is distrusted after it if nothing follows it."""
    async with watched() as (s, replicas):
        replicas.follow = False
        await refusal(s)
        new = Replicas(s.new)
        new.follow = False

        s.locator.move(s.new)

        assert await answered(s.store) == [1]
        assert "EVALSHA" in s.new.verbs()
        assert "no replica has acknowledged" in (await refusal(s)).reason


async def test_nothing_is_watched_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A primary that is named after the store was closed is not distrusted later."""
    async with watched() as (s, _):
        await s.store.aclose()
        with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
            s.locator.move(s.new)

            await asyncio.sleep(2 * BOUND_S)

        assert not caplog.records


@pytest.mark.parametrize(
    ("attached", "promotable", "wanted"), [(1, 1, "1"), (3, 2, "2"), (2, 0, "3"), (1, 2, "1"), (None, 2, "1")]
)
async def test_a_replica_that_cannot_be_promoted_does_not_count(
    attached: int | None, promotable: int, wanted: str
) -> None:
    """As many have to acknowledge as cannot be promoted, and one more: `WAIT` counts any replica.

    If the server does not say how many there are, those are all that could be promoted.
    """
    async with scene(listed=True, max_unreplicated_s=BOUND_S) as s:
        s.locator.promise(promotable)
        hosts = [["127.0.0.1", str(6380 + number), "100"] for number in range(attached or 0)]
        s.old.attached = 6379 if attached is None else hosts
        await s.store.run("test/once", [], [])

        await s.old.until(lambda: "WAIT" in s.old.verbs())

        assert ["WAIT", wanted, "50"] in [command for _, command in s.old.seen]


async def test_an_account_without_role_relies_on_the_sentinels() -> None:
    """If it may not ask which replicas there are, those are all that the Sentinels could promote."""
    async with scene(listed=True, max_unreplicated_s=BOUND_S) as s:
        s.old.denied = frozenset({"ROLE"})
        s.locator.promise(2)
        await s.store.run("test/once", [], [])

        await s.old.until(lambda: "WAIT" in s.old.verbs())

        assert ["WAIT", "1", "50"] in [command for _, command in s.old.seen]


@pytest.mark.parametrize("denied", ["WAIT", "SET"])
async def test_an_account_that_may_not_ask_is_told_so(denied: str) -> None:
    """An account that may not write the marker, or not wait, is refused with the words of the server."""
    async with watched() as (s, _):
        s.old.denied = frozenset({denied})

        assert f"run the '{denied.lower()}' command" in (await refusal(s)).reason


async def test_news_of_a_failover_is_no_acknowledgement() -> None:
    """A failover that is announced extends nothing; before the first call, a new primary starts no watch."""
    async with scene(listed=True, max_unreplicated_s=BOUND_S) as s:
        s.locator.promise(1)
        s.locator.move(s.new)
        assert [task for task in asyncio.all_tasks() if "replication" in task.get_name()] == []
        Replicas(s.new).follow = False
        await s.store.run("test/once", [], [])
        began_s = asyncio.get_running_loop().time()

        while asyncio.get_running_loop().time() - began_s < 1.5 * BOUND_S:
            s.locator.announce(FailoverPause(wait_s=0))
            await asyncio.sleep(0.01)

        with pytest.raises(StoreUnavailable, match="no replica has acknowledged"):
            await s.store.run("test/once", [], [])


async def test_operators_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Distrust and its end are one log line each; the metric of breakers and the status say it too."""
    metrics = Metrics()

    def gauge(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"tollhouse_{name}", {"store": "sessions"})

    with caplog.at_level(logging.INFO, "tollhouse.stores"):
        async with watched(metrics=metrics) as (s, replicas):
            assert (await check_store(s.store)).problem is None
            replicas.follow = False
            await refusal(s)

            status = await check_store(s.store)

            assert status.connection == "disconnected"
            assert "no replica has acknowledged" in (status.problem or "")
            assert (gauge("breaker_open"), gauge("store_up")) == (1, 0)
            replicas.follow = True
            await answered(s.store)
            assert (gauge("breaker_open"), gauge("store_up")) == (0, 1)
    events = [vars(one)["event"] for one in caplog.records if one.name == "tollhouse.stores"]
    changes = [event for event in events if "trusted" in event or "again" in event]
    assert changes == ["primary is not trusted, calls fail at once", "replicas acknowledge again"]


async def test_a_server_that_does_not_answer_the_watch_is_distrusted() -> None:
    """A primary that hangs is not acknowledged either; the watch goes on, and finds it when it is back."""
    async with watched(deadline_s=0.1) as (s, _):
        s.old.holding = True
        await asyncio.sleep(2 * BOUND_S)
        with pytest.raises(StoreUnavailable) as refused:
            await s.store.run("test/once", [], [])
        assert "no replica has acknowledged" in refused.value.reason

        s.old.holding = False
        s.old.release()

        assert await answered(s.store) == [1]


async def test_the_marker_is_that_of_the_store() -> None:
    """The watch writes the key that durable writes confirm with, which expires: no other right is needed."""
    async with watched(namespace=Namespace("shop")) as (s, _):
        marker = next(command for _, command in s.old.seen if command[0] == "SET")

        assert marker == ["SET", "tollhouse:session:shop:{marker}", "1", "PX", "60000"]


async def test_the_watch_ends_with_its_store() -> None:
    """After `aclose` no task and no connection of the watch is left; a store that was never used has none."""
    async with watched() as (s, _):
        await s.store.aclose()

        assert [task.get_name() for task in asyncio.all_tasks() if "replication" in task.get_name()] == []
        await s.old.until(lambda: not s.old.connections)
    async with scene(listed=True, max_unreplicated_s=BOUND_S):
        pass


async def test_a_server_that_stands_alone_is_not_watched() -> None:
    """One server has no replicas that are known: nothing is asked of it, whatever the bound."""
    async with scene(max_unreplicated_s=0.01) as s:
        await s.store.run("test/once", [], [])
        await asyncio.sleep(0.05)

        assert await s.store.run("test/once", [], []) == [1]
        assert set(s.old.verbs()) == {"EVALSHA"}


def test_a_bound_that_nothing_could_keep_is_refused() -> None:
    """With no URL that names several servers there is nothing to watch: the setting is a mistake, and says so."""
    with pytest.raises(ConfigurationError) as refused:
        open_stores(urls_by_store("redis://h", {}), {}, Metrics(), timing=ConnectionTiming(max_unreplicated_s=1.0))

    assert refused.value.setting == "max_unreplicated_ms"
    mixed = urls_by_store("redis://h", {"sessions": "redis://h,i"})
    open_stores(mixed, {}, Metrics(), timing=ConnectionTiming(max_unreplicated_s=1.0))
