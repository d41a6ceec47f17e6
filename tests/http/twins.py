"""The same service twice, each with its own data: as it is served, and with its documented handlers only.

Both are behind the protocol of `tollhouse serve`, on a connection that is no socket: bytes in, bytes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from uvicorn.server import ServerState

from tests.http.client import SERVICE_KEY, settings_at
from tests.worlds import StoreWorld, fake_world
from tollhouse import wiring
from tollhouse.app import create_app
from tollhouse.errors import StoreError
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.limits.limiter import Limiter
from tollhouse.scripts import Argument, ScriptRunner
from tollhouse.serving import ServingConfig
from tollhouse.settings.model import LimitSettings, PolicySettings

BODY_BYTES = 8_192
POLICIES = {
    "api": PolicySettings(limit="5/minute; 8/hour"),
    "plenty": PolicySettings(limit="1000000/hour"),
    "banned": PolicySettings(limit="5/minute", deny=("mallory",), allow=("root",)),
    "watched": PolicySettings(limit="2/minute", shadow=True),
    "bucket": PolicySettings(limit="2/second burst 4", algorithm="gcra"),
    "jobs": PolicySettings(limit="2/minute", algorithm="concurrency"),
}
HEADERS = (
    (b"host", b"testserver"),
    (b"authorization", b"Bearer " + SERVICE_KEY.encode()),
    (b"content-type", b"application/json"),
)

TURNS = 3
PARTIAL_S = 0.3
"""How long a server is given to answer a request whose body it does not have."""
PATIENCE_S = 10.0
Messages = list[dict[str, Any]]


class HttpRequest(Struct, frozen=True, kw_only=True):
    """A request as a client sends it, each chunk in a segment of its own; without a length if that is None."""

    path: str = "/v1/limits/take"
    method: str = "POST"
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = HEADERS
    chunks: tuple[bytes, ...] = (b'{"policy":"api","key":"ada"}',)
    length: bytes | None = b"as it is"
    client: tuple[str, int] = ("127.0.0.1", 50_000)

    @property
    def segments(self) -> list[bytes]:
        length = str(sum(map(len, self.chunks))).encode() if self.length == b"as it is" else self.length
        told = () if length is None else ((b"content-length", length),)
        target = self.path.encode() + (b"?" + self.query if self.query else b"")
        lines = b"".join(b"%s: %s\r\n" % header for header in (*self.headers, *told))
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (self.method.encode(), target, lines)
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            return [head, *(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in self.chunks), b"0\r\n\r\n"]
        return [head + self.chunks[0], *self.chunks[1:]]


class Wire(asyncio.Transport):
    """A connection of one client without a socket; it keeps what the server writes, and how often."""

    def __init__(self, client: tuple[str, int]) -> None:
        super().__init__({"peername": client, "sockname": ("127.0.0.1", 8_000)})
        self.writes: list[bytes] = []
        self.is_closed = False
        self.unread_bytes = 0

    def write(self, data: Any) -> None:
        if not self.is_closed:
            self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Line:
    """The protocol of a worker on one connection to an application."""

    def __init__(
        self, config: ServingConfig, client: tuple[str, int] = ("127.0.0.1", 50_000), state: ServerState | None = None
    ) -> None:
        self.wire = Wire(client)
        self.state = ServerState() if state is None else state
        self.protocol: Any = config.http_protocol_class(config=config, server_state=self.state, app_state={})  # type: ignore[call-arg] - uvicorn types it so
        self.protocol.connection_made(self.wire)

    async def send(self, segments: Iterable[bytes]) -> None:
        """Send the segments, each when the server has answered the requests that were whole before."""
        for segment in segments:
            await self.receive(segment)
            if not self._is_partial:
                await self.rest()
        await self.rest()

    async def receive(self, segment: bytes) -> None:
        """Send a segment, and wait for a few turns of the event loop."""
        if not self.wire.is_closed:
            self.protocol.data_received(segment)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def rest(self) -> None:
        """Wait until nothing is under way; a request whose body is missing may be answered all the same."""
        while self.state.tasks:
            if not await self._has_ended_one(PARTIAL_S if self._is_partial else PATIENCE_S):
                break
        for _ in range(TURNS):
            await asyncio.sleep(0)

    @property
    def _is_partial(self) -> bool:
        return getattr(self.protocol.cycle, "more_body", False)

    async def end(self) -> None:
        """End the connection from the side of the client."""
        self.wire.is_closed = True
        self.protocol.connection_lost(None)
        while self.state.tasks and await self._has_ended_one(PATIENCE_S):
            pass

    async def _has_ended_one(self, patience_s: float) -> bool:
        """Wait until one of the requests under way ends; return False if none does in time."""
        under_way = set(self.state.tasks)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while under_way <= self.state.tasks:
                    if all(isinstance(one, asyncio.Future) for one in under_way):
                        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.sleep(0)
        return not under_way <= self.state.tasks

    @property
    def outcome(self) -> Messages:
        """For each response a start and a body, and then whether the server has closed the connection."""
        found = [*_messages(b"".join(self.wire.writes)), {"type": "end", "is_closed": self.wire.is_closed}]
        return [_ordered(message) for message in found]


class FailingStore:
    """A store that raises `failure` if it is set, and counts its calls; it answers none while `gate` is closed."""

    def __init__(self, store: ScriptRunner) -> None:
        self._store = store
        self.calls = 0
        self.failure: StoreError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        self.calls += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await self._store.run(script, keys, args)


class Twin:
    """One of the two; `passed_on` counts the requests that reached the documented application."""

    def __init__(self, world: StoreWorld, *, fast: bool, limits: Mapping[str, Any], **changes: Any) -> None:
        chosen = LimitSettings(**{"policies": POLICIES, **limits})
        settings = settings_at(world.url, body_bytes=BODY_BYTES, limits=chosen, **changes)
        self.tollhouse = wiring.open(settings)
        self.tollhouse.stores = world.stores
        self.store = FailingStore(world.stores.limits)
        self.tollhouse.limits = Limiter(
            self.store,
            self.tollhouse.policies,
            self.tollhouse.keyring,
            self.tollhouse.metrics,
            namespace=self.tollhouse.namespace,
            instances=chosen.instances or 1,
            refusals_max=100,
            clock=lambda: 0,
        )
        self.passed_on = 0
        keys = ApiKeys(self.tollhouse)
        self._documented = create_app(self.tollhouse, keys=keys)

        async def documented(scope: Any, receive: Any, send: Any) -> None:
            self.passed_on += 1
            await self._documented(scope, receive, send)

        served = FastPath(documented, self.tollhouse, keys)

        async def by_asgi_alone(scope: Any, receive: Any, send: Any) -> None:
            await served(scope, receive, send)

        self.config = ServingConfig(lambda: served if fast else by_asgi_alone, settings)
        self.config.load()

    async def renew(self) -> None:
        """Forget what was counted, in the store and in the process; metrics go on."""
        await self.tollhouse.stores.limits.command("FLUSHDB")
        self.tollhouse.limits.refusals.clear()
        self.passed_on = 0

    async def answer(self, asked: HttpRequest) -> Messages:
        """Return what the server answers."""
        return await self.exchange(asked.segments, asked.client)

    async def exchange(self, segments: Iterable[bytes], client: tuple[str, int] = ("127.0.0.1", 50_000)) -> Messages:
        """Return what the server answers to one connection, and whether it closes that."""
        line = Line(self.config, client)
        await line.send(segments)
        found = line.outcome
        await line.end()
        return found

    @property
    def counts(self) -> list[str]:
        """Return the metrics of decisions."""
        text = self.tollhouse.metrics.render()[0].decode()
        return sorted(line for line in text.splitlines() if line.startswith("tollhouse_ratelimit_decisions_total"))


class Twins(Struct, frozen=True, kw_only=True):
    """Both services."""

    served: Twin
    documented: Twin

    async def answers(self, asked: HttpRequest) -> tuple[Messages, Messages]:
        """Send the request to both."""
        return await self.served.answer(asked), await self.documented.answer(asked)

    async def exchanges(self, segments: Iterable[bytes]) -> tuple[Messages, Messages]:
        """Send the same bytes to both, each on a connection of its own."""
        sent = list(segments)
        return await self.served.exchange(sent), await self.documented.exchange(sent)


@asynccontextmanager
async def twins(*, limits: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> AsyncIterator[Twins]:
    """Make both, in worlds whose clocks do not move."""
    async with AsyncExitStack() as stack:
        served, documented = [await stack.enter_async_context(fake_world()) for _ in range(2)]
        yield Twins(
            served=Twin(served, fast=True, limits=limits, **changes),
            documented=Twin(documented, fast=False, limits=limits, **changes),
        )


def _ordered(message: dict[str, Any]) -> dict[str, Any]:
    """Sort the methods in `allow`: Litestar lists them in the order of a set, which differs between applications."""
    headers = [
        (name, b", ".join(sorted(value.split(b", "))) if name == b"allow" else value)
        for name, value in message.get("headers", ())
    ]
    return {**message, "headers": headers} if headers else message


def _messages(written: bytes) -> Iterable[dict[str, Any]]:
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        headers = [(name, value) for name, _, value in (each.partition(b": ") for each in lines)]
        length = int(dict(headers).get(b"content-length", b"0"))
        yield {"type": "start", "line": line, "status": int(line.split()[1]), "headers": headers}
        yield {"type": "body", "body": rest[:length]}
        written = rest[length:]
