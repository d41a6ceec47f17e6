"""Requests that are charged by their response, and permits that are held until it was sent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.asgi import get, limiter_with
from tests.watched import WatchedStore
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.refunds import Charge, charge_predicate
from tollhouse.asgi.ratelimit.rules import RateLimitRule
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.limits.calls.refunds import PAUSE_S
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy

POLICIES = {"api": "3/minute", "user": "5/minute"}
KEY = "192.0.2.1"


async def status_of_path(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the status that the path asks for."""
    headers = [(b"x-free", b"yes")] if scope["path"].endswith("free") else []
    await send({"type": "http.response.start", "status": int(scope["path"][1:4]), "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})


async def remaining(limits: Limiter, policy: str = "api") -> int:
    return (await limits.peek(policy, KEY)).limits[0].remaining


CHARGES: list[tuple[Charge, list[str], int]] = [
    ("4xx", ["/404", "/200", "/500"], 2),
    (401, ["/401", "/403"], 2),
    ("401", ["/401", "/403"], 2),
    (["2xx", 304], ["/201", "/304", "/500"], 1),
    (lambda status, headers: status < 300 and (b"x-free", b"yes") not in headers, ["/200", "/200free", "/404"], 2),
]


@pytest.mark.parametrize(("charge", "paths", "left"), CHARGES)
async def test_only_some_responses_are_charged(world: StoreWorld, charge: Charge, paths: list[str], left: int) -> None:
    """What is answered with a status that is not charged is given back."""
    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(status_of_path, limiter=limits, policy="api", charge=charge)

    for path in paths:
        await get(app, path)

    assert await remaining(limits) == left


async def test_units_are_taken_before_the_response_is_known(world: StoreWorld) -> None:
    """Of many requests at once no more pass than the limit admits, although none of them is charged in the end."""
    limits = limiter_with(world, POLICIES)
    open_doors = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await open_doors.wait()
        await status_of_path(scope, receive, send)

    app = RateLimitMiddleware(slow, limiter=limits, policy="api", charge="4xx")
    running = [asyncio.create_task(get(app, "/200")) for _ in range(6)]
    refused, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    while len(refused) < 3:
        more, _ = await asyncio.wait(set(running) - refused, return_when=asyncio.FIRST_COMPLETED)
        refused |= more
    open_doors.set()
    statuses = sorted([(await task).status_code for task in running])

    assert statuses == [200] * 3 + [429] * 3
    assert await remaining(limits) == 3


async def test_all_policies_of_a_request_are_given_back(world: StoreWorld) -> None:
    """What several policies charged together comes back from each of them."""
    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(status_of_path, limiter=limits, policy=["api", "user"], cost=2, charge="2xx")

    await get(app, "/404")

    assert (await remaining(limits), await remaining(limits, "user")) == (3, 5)


async def test_a_response_that_never_came_counts_as_500(world: StoreWorld) -> None:
    """An application that fails before it answers is charged as the 500 that its server will send."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise OSError("the application failed")

    limits = limiter_with(world, POLICIES)
    free = RateLimitMiddleware(failing, limiter=limits, policy="api", charge="2xx")
    charged = RateLimitMiddleware(failing, limiter=limits, policy="user", charge="5xx")

    for app in (free, charged):
        with pytest.raises(OSError, match="the application failed"):
            await get(app, "/")

    assert (await remaining(limits), await remaining(limits, "user")) == (3, 4)


async def test_a_response_that_broke_off_counts_as_it_began(world: StoreWorld) -> None:
    """A failure after the response has begun changes nothing about what it is charged."""

    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise OSError("the application failed")

    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(breaking, limiter=limits, policy="api", charge="2xx")

    with pytest.raises(OSError, match="the application failed"):
        await get(app, "/")

    assert await remaining(limits) == 2


async def test_what_was_not_counted_is_not_given_back(world: StoreWorld) -> None:
    """A key on the allow list, and a take that only a shadow let pass, have charged nothing that could come back."""
    shadow = parse_policy("shadow", "1/minute", shadow=True)
    listed = parse_policy("listed", "3/minute", allow=(KEY,))
    limits = limiter_with(world, {"shadow": shadow, "listed": listed})
    rules = {f"/200/{name}": RateLimitRule(policy=name, charge="4xx") for name in ("shadow", "listed")}
    app = RateLimitMiddleware(status_of_path, limiter=limits, policy=None, routes=rules)
    await limits.take("shadow", KEY)

    for path in rules:
        await get(app, path)

    assert await remaining(limits, "shadow") == 0


class Forgetful:
    """A store that fails when units are refunded."""

    def __init__(self, world: StoreWorld) -> None:
        self._store = world.stores.limits

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        if script == "limits/refund":
            raise StoreUnavailable("limits", "not-sent", "it is down")
        return await self._store.run(script, keys, args)


async def test_a_refund_that_fails_is_logged_and_no_error(world: StoreWorld, caplog: pytest.LogCaptureFixture) -> None:
    """If a refund fails the client does not notice; the log has the policy, and not the key."""
    policies = {"api": parse_policy("api", "3/minute")}
    limits = Limiter(Forgetful(world), policies, world.keyring, world.metrics)
    app = RateLimitMiddleware(status_of_path, limiter=limits, policy="api", charge="4xx")

    with caplog.at_level(logging.WARNING, "tollhouse.limits"):
        response = await get(app, "/200")

    (record,) = [record for record in caplog.records if record.name == "tollhouse.limits"]
    assert response.status_code == 200
    assert vars(record)["event"] == "refund lost"
    assert vars(record)["policy"] == "api"
    assert KEY not in str(vars(record))


PERMITS = {"jobs": parse_policy("jobs", "2/minute", "concurrency"), "api": parse_policy("api", "3/minute")}


async def test_a_permit_is_held_until_the_response_was_sent(world: StoreWorld) -> None:
    """As many requests run at once as there are permits; then others may, and the response says how many are left."""
    limits = limiter_with(world, PERMITS)
    open_doors = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.release()
        await open_doors.wait()
        await status_of_path(scope, receive, send)

    entered = asyncio.Semaphore(0)
    app = RateLimitMiddleware(slow, limiter=limits, policy="jobs")
    running = [asyncio.create_task(get(app, "/200")) for _ in range(2)]
    for _ in range(2):
        await entered.acquire()
    refused = await get(app, "/200")
    open_doors.set()
    served = [await task for task in running]
    after = await get(app, "/200")

    assert refused.status_code == 429
    assert [response.status_code for response in [*served, after]] == [200] * 3
    assert after.headers["ratelimit-policy"] == '"jobs";q=2;qu="concurrent-requests"'
    assert await remaining(limits, "jobs") == 2


async def test_a_permit_comes_back_where_the_rest_refuses(world: StoreWorld) -> None:
    """With leases among several policies nothing is charged or held if one of them refuses."""
    limits = limiter_with(world, PERMITS)
    app = RateLimitMiddleware(status_of_path, limiter=limits, policy=["jobs", "api"])

    responses = [await get(app, "/200") for _ in range(4)]

    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert await remaining(limits, "jobs") == 2
    assert '"jobs"' in responses[0].headers["ratelimit"]
    assert '"api"' in responses[0].headers["ratelimit"]
    assert responses[3].json()["violated-policies"] == ["api"]


async def test_permits_of_several_policies_are_held_together(world: StoreWorld) -> None:
    """A request that needs two permits has both or none."""
    policies = {name: parse_policy(name, f"{many}/minute", "concurrency") for name, many in (("few", 1), ("many", 2))}
    limits = limiter_with(world, policies)
    inner: list[int] = []

    async def nested(scope: Any, receive: Any, send: Any) -> None:
        inner.extend([] if inner else [0, (await get(app, "/200")).status_code])
        inner.append(await remaining(limits, "many"))
        await status_of_path(scope, receive, send)

    app = RateLimitMiddleware(nested, limiter=limits, policy=["many", "few"])

    assert (await get(app, "/200")).status_code == 200
    assert inner == [0, 429, 1]
    assert (await remaining(limits, "few"), await remaining(limits, "many")) == (1, 2)


async def test_a_permit_comes_back_where_the_application_fails(world: StoreWorld) -> None:
    """Whatever becomes of the request, its permit is free afterwards."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise OSError("the application failed")

    limits = limiter_with(world, PERMITS)
    app = RateLimitMiddleware(failing, limiter=limits, policy="jobs", charge="2xx")

    with pytest.raises(OSError, match="the application failed"):
        await get(app, "/")

    assert await remaining(limits, "jobs") == 2


class Flood:
    """Requests under two limits of which the inner one refuses, and what they cost the store."""

    def __init__(self, world: StoreWorld, outer: str) -> None:
        policies = {"outer": parse_policy("outer", outer), "inner": parse_policy("inner", "1/minute")}
        self.store = WatchedStore(world.stores.limits)
        self.limits = Limiter(self.store, policies, world.keyring, world.metrics, refusals_max=100)
        self.announced: list[bytes] = []
        self._subscribed = asyncio.Event()
        world.stores.limits.listen(UNNAMED.rate_clearings, self.announced.append, lambda: None, self._on_subscribed)
        inner = RateLimitMiddleware(status_of_path, limiter=self.limits, policy="inner")
        self._app = RateLimitMiddleware(inner, limiter=self.limits, policy="outer")

    def _on_subscribed(self) -> None:
        self.limits.refusals.on_subscribed()
        self._subscribed.set()

    async def run(self, requests: int) -> set[int]:
        """Serve one request, then so many that are refused; return the statuses of these."""
        await get(self._app, "/200")
        async with asyncio.timeout(5):
            await self._subscribed.wait()
        self.store.calls.clear()
        statuses = {(await get(self._app, "/200")).status_code for _ in range(requests)}
        await self.limits.aclose()
        return statuses


async def test_a_flood_of_refused_requests_announces_nothing_while_there_is_room(embedded: StoreWorld) -> None:
    """1,000 requests that one of two limits refuses cost the other a take and a refund each, and no announcement."""
    flood = Flood(embedded, "5000/hour")

    assert await flood.run(1_000) == {429}

    takes, refunds = (flood.store.scripts.count(script) for script in ("limits/take_one", "limits/refund"))
    assert (takes, refunds) == (1_001, 1_000)
    assert flood.announced == []
    assert await remaining(flood.limits, "outer") == 4_999


async def test_a_flood_of_refused_requests_announces_few_clearings_of_a_limit_that_is_full(world: StoreWorld) -> None:
    """When each of 1,000 such requests takes the last unit, most find it gone and cost the store nothing."""
    flood = Flood(world, "2/hour")
    began_s = time.monotonic()

    assert await flood.run(1_000) == {429}

    pauses = int((time.monotonic() - began_s) / PAUSE_S) + 2
    assert len(flood.announced) <= pauses
    assert len(flood.store.calls) <= 4 * pauses
    assert await remaining(flood.limits, "outer") == 1


async def test_a_slow_request_frees_no_units_of_those_that_were_served_meanwhile(world: StoreWorld) -> None:
    """P1: a client that lets requests hang until their window is over gets none of them back in the next window."""
    limits = Limiter(
        world.stores.limits,
        {"api": parse_policy("api", "3/minute")},
        world.keyring,
        world.metrics,
        clock=lambda: world.now_ms,
    )
    hanging, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/404":
            begun.release()
            await hanging.wait()
        await status_of_path(scope, receive, send)

    limited = RateLimitMiddleware(app, limiter=limits, policy="api", charge="2xx")
    slow = [asyncio.create_task(get(limited, "/404")) for _ in range(3)]
    for _ in slow:
        await begun.acquire()
    await world.advance(90_000)
    served = [(await get(limited, "/200")).status_code for _ in range(4)]
    hanging.set()
    await asyncio.gather(*slow)
    await limits.aclose()

    assert served == [200, 200, 200, 429]
    assert (await get(limited, "/200")).status_code == 429


@pytest.mark.parametrize("charge", ["4x", "40x", ["2xx", "4x"]])
def test_a_misspelled_class_of_statuses_is_told(charge: Any) -> None:
    """A class of statuses that does not exist is refused with the nearest one."""
    with pytest.raises(ConfigurationError) as caught:
        charge_predicate(charge)

    assert caught.value.setting == "charge"
    assert "did you mean '4xx'?" in caught.value.remedy


@pytest.mark.parametrize("charge", [4.5, object(), True, None, 99, 600, "ok", [None]])
def test_what_is_no_status_is_refused_by_its_value(charge: Any) -> None:
    """A `charge` of another type is refused as other values are, and not by an error of Python."""
    with pytest.raises(ConfigurationError) as caught:
        charge_predicate(charge)

    assert caught.value.setting == "charge"
    assert caught.value.value in (charge, None)


def test_a_set_of_statuses_is_as_good_as_a_list() -> None:
    """Any collection of statuses and classes says which responses are charged."""
    is_charged = charge_predicate(cast("Any", {401, "5xx"}))

    assert [is_charged(status, ()) for status in (401, 404, 503)] == [True, False, True]
