"""What tests of ASGI applications share: clients without a server, limiters, and a count of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx2

from tests.worlds import StoreWorld
from tollhouse.errors import ConfigurationError, InvalidInput, ScriptFailed
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy

Message = dict[str, Any]


def limiter_with(world: StoreWorld, policies: Mapping[str, str | Policy]) -> Limiter:
    """Make a limiter over the world's store, with policies or their limits."""
    made = {name: parse_policy(name, one) if isinstance(one, str) else one for name, one in policies.items()}
    return Limiter(world.stores.limits, made, world.keyring, world.metrics)


def blamed(error: ConfigurationError | InvalidInput) -> str:
    """Return the setting or the field that an error names."""
    return error.setting if isinstance(error, ConfigurationError) else error.field


class FailingStore:
    """A store whose scripts the server refuses to run."""

    async def run(self, script: str, keys: Any, args: Any) -> list[Any]:
        raise ScriptFailed(f"{script}: the server refused")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An application without a framework; it refuses what is not HTTP, as Django does."""
    if scope["type"] != "http":
        raise ValueError(f"only HTTP is served here, not {scope['type']}")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"yes")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def get(
    app: Any, path: str = "/", peer: str = "192.0.2.1", method: str = "GET", **headers: str
) -> httpx2.Response:
    """Send one request to an application, as `peer`."""
    transport = httpx2.ASGITransport(app=app, client=(peer, 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        return await client.request(method, path, headers=headers)


async def connect(
    app: Any,
    texts: Iterable[str] = (),
    path: str = "/",
    *,
    can_deny: bool = True,
    peer: str = "192.0.2.1",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> list[Message]:
    """Open a websocket, send it texts, and go; give what the application sent."""
    coming: list[Message] = [
        {"type": "websocket.connect"},
        *({"type": "websocket.receive", "text": text} for text in texts),
        {"type": "websocket.disconnect", "code": 1005},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": path,
        "headers": list(headers),
        "query_string": b"",
        "client": (peer, 4711),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}} if can_deny else None,
    }
    await app(scope, receive, send)
    return sent


def django_application(urls: Iterable[Any]) -> Any:
    """Make a Django application of these routes; a process has one at a time, the latest."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[])
        django.setup()
    settings.ROOT_URLCONF = tuple(urls)
    return get_asgi_application()


async def connections(world: StoreWorld) -> int:
    """Count the connections that the world's server has."""
    return len((await world.command("limits", "CLIENT", "LIST")).splitlines())


async def until_connections(world: StoreWorld, count: int) -> None:
    """Wait until the server has noticed that only `count` connections are left."""
    async with asyncio.timeout(5):
        while await connections(world) > count:
            pass
