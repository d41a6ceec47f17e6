"""Websockets behind limits: counted when they connect, and message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from tests.asgi import FailingStore, Message, connect, get, hello, limiter_with
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.rules import RateLimitRule
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy

POLICIES = {
    "connections": parse_policy("connections", "2/minute"),
    "messages": parse_policy("messages", "2/minute"),
    "open": parse_policy("open", "1/minute", "concurrency"),
}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send every text back, until the client goes."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": [(b"x-app", b"yes")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    await send({"type": "websocket.send", "text": f"left with {message['code']}"})


def kinds(sent: list[Message]) -> list[str]:
    return [message["type"].removeprefix("websocket.") for message in sent]


def texts(sent: list[Message]) -> list[str]:
    return [message["text"] for message in sent if message["type"] == "websocket.send"]


async def test_a_websocket_counts_as_one_request_when_it_connects(world: StoreWorld) -> None:
    """A websocket within the limit is accepted with the fields, behind those of the application."""
    app = RateLimitMiddleware(echo, limiter=limiter_with(world, POLICIES), policy="connections")

    sent = await connect(app, ["a", "b", "c"])

    headers = dict(sent[0]["headers"])
    assert texts(sent) == ["a", "b", "c", "left with 1005"]
    assert headers[b"x-app"] == b"yes"
    assert headers[b"ratelimit"].startswith(b'"connections";r=1;t=')


async def test_a_websocket_above_the_limit_is_refused_before_it_is_accepted(world: StoreWorld) -> None:
    """The application does not see it; the client gets the response of a request if the server can send one."""
    app = RateLimitMiddleware(echo, limiter=limiter_with(world, POLICIES), policy="connections")
    for _ in range(2):
        await connect(app)

    told = await connect(app)
    closed = await connect(app, can_deny=False)

    assert kinds(told) == ["http.response.start", "http.response.body"]
    assert told[0]["status"] == 429
    assert dict(told[0]["headers"])[b"retry-after"].isdigit()
    assert json.loads(told[1]["body"])["violated-policies"] == ["connections"]
    assert [(message["type"], message["code"]) for message in closed] == [("websocket.close", 1013)]


async def test_websockets_and_requests_may_have_rules_of_their_own(world: StoreWorld) -> None:
    """`WS` in a pattern names websockets alone, and a method requests alone."""
    routes = {"WS /chat": "connections", "GET /chat": "messages"}
    app = RateLimitMiddleware(echo, limiter=limiter_with(world, POLICIES), routes=routes, policy=None)
    requests = RateLimitMiddleware(hello, limiter=limiter_with(world, POLICIES), routes=routes, policy=None)

    sent = await connect(app, path="/chat")

    assert b'"connections"' in dict(sent[0]["headers"])[b"ratelimit"]
    assert '"messages"' in (await get(requests, "/chat")).headers["ratelimit"]


async def test_each_message_may_be_counted(world: StoreWorld) -> None:
    """The message above the limit closes the connection with code 1013; the application sees it end."""
    app = RateLimitMiddleware(echo, limiter=limiter_with(world, POLICIES), policy=None, messages="messages")

    sent = await connect(app, ["a", "b", "c", "d"])

    assert kinds(sent) == ["accept", "send", "send", "close"]
    assert sent[-1]["code"] == 1013
    assert "messages" in sent[-1]["reason"]
    assert "ratelimit" not in dict(sent[0]["headers"])


async def test_messages_above_the_limit_may_be_dropped(world: StoreWorld) -> None:
    """With `over_messages="drop"` the application never sees them, and the connection stays."""
    rule = RateLimitRule(messages="messages", over_messages="drop")
    app = RateLimitMiddleware(echo, limiter=limiter_with(world, POLICIES), policy=None, routes={"/*": rule})

    sent = await connect(app, ["a", "b", "c", "d"])

    assert texts(sent) == ["a", "b", "left with 1005"]


async def test_a_permit_is_held_as_long_as_the_connection(world: StoreWorld) -> None:
    """A policy of permits bounds how many connections are open at once."""
    limits = limiter_with(world, POLICIES)
    inner: list[list[Message]] = []

    async def nested(scope: Any, receive: Any, send: Any) -> None:
        if not inner:
            inner.append([])
            inner[0] = await connect(app)
        await echo(scope, receive, send)

    app = RateLimitMiddleware(nested, limiter=limits, policy="open")

    first, second = await connect(app, ["a"]), await connect(app, ["b"])

    assert inner[0][0]["status"] == 429
    assert (texts(first)[0], texts(second)[0]) == ("a", "b")


async def test_messages_are_not_counted_by_permits(world: StoreWorld) -> None:
    """A policy of permits for messages is a ConfigurationError: connections hold permits."""
    with pytest.raises(ConfigurationError) as refused:
        RateLimitMiddleware(echo, limiter=limiter_with(world, POLICIES), policy=None, messages="open")

    assert (refused.value.setting, refused.value.value) == ("messages", "open")


async def test_a_message_that_cannot_be_counted_ends_the_connection(world: StoreWorld) -> None:
    """If the store fails, or no limiter accepts the key, the connection is closed with a reason."""
    failing = Limiter(FailingStore(), POLICIES, world.keyring, world.metrics)
    down = RateLimitMiddleware(echo, limiter=failing, policy=None, messages="messages")
    long = RateLimitMiddleware(
        echo, limiter=limiter_with(world, POLICIES), policy=None, messages="messages", key=lambda _: "k" * 1000
    )

    closed = [(await connect(app, ["a"]))[-1] for app in (down, long)]

    assert [message["code"] for message in closed] == [1013, 1008]
    assert "does not answer" in closed[0]["reason"]
    assert closed[1]["reason"].startswith("key: give 1 to")


async def test_a_policy_of_messages_that_is_gone_is_our_own_fault(world: StoreWorld) -> None:
    """A policy that no longer exists is an error of the application, not of its client."""
    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(echo, limiter=limits, policy=None, messages="messages")
    limits.replace_policies({})

    with pytest.raises(InvalidInput) as refused:
        await connect(app, ["a"])

    assert (refused.value.field, refused.value.value) == ("policy", "messages")


CHARGES = [("1xx", 1), ("4xx", 2)]


@pytest.mark.parametrize(("charge", "left"), CHARGES)
async def test_a_handshake_is_charged_by_its_answer(world: StoreWorld, charge: str, left: int) -> None:
    """A websocket that is accepted has the status 101."""
    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(echo, limiter=limits, policy="connections", charge=charge)

    await connect(app)

    assert (await limits.peek("connections", "192.0.2.1")).limits[0].remaining == left


REFUSALS: list[Message] = [
    {"type": "websocket.close", "code": 1000},
    {"type": "websocket.http.response.start", "status": 403, "headers": []},
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_the_application_refuses_itself_is_403(world: StoreWorld, refusal: Message) -> None:
    """A websocket that the application closes before it accepts it, or denies, is charged like a request."""

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(refusal)

    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(refusing, limiter=limits, policy="connections", charge="2xx")

    sent = await connect(app)

    assert sent[0]["type"] == refusal["type"]
    assert (await limits.peek("connections", "192.0.2.1")).limits[0].remaining == 2


def limited() -> RateLimited:
    decision = Decision(
        allowed=False, policy="own", key="ada", cost=1, limits=(), retry_after_ms=500, refused_by="1/second"
    )
    return RateLimited(decision)


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_refusal_of_the_application_ends_the_connection(world: StoreWorld, accepts: bool) -> None:
    """RateLimited before the websocket is accepted is answered like a refused request, and later closes it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if accepts:
            await send({"type": "websocket.accept"})
        raise limited()

    sent = await connect(RateLimitMiddleware(app, limiter=limiter_with(world, POLICIES), policy="connections"))

    if accepts:
        assert (kinds(sent), sent[-1]["code"]) == (["accept", "close"], 1013)
    else:
        assert (kinds(sent), sent[0]["status"]) == (["http.response.start", "http.response.body"], 429)


async def test_a_connection_is_ended_once(world: StoreWorld) -> None:
    """An application that goes on after the end, or is refused once more, changes nothing about it."""

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": "websocket.send", "text": "too late"})
        raise limited()

    app = RateLimitMiddleware(stubborn, limiter=limiter_with(world, POLICIES), policy=None, messages="messages")

    assert kinds(await connect(app, ["a", "b", "c"])) == ["accept", "close"]


async def test_a_socket_of_starlette_is_limited(world: StoreWorld) -> None:
    """A websocket of a framework reads its messages through the limit, and hears of the end as of any other."""
    left: list[int] = []

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)
        left.append(len(left))

    inner = Starlette(routes=[WebSocketRoute("/", talk)])
    app = RateLimitMiddleware(inner, limiter=limiter_with(world, POLICIES), messages="messages", policy=None)

    sent = await connect(app, ["a", "b", "c"])

    assert texts(sent) == ["a", "b"]
    assert left == [0]
