"""The same service twice, each with its own data: as it is served, and with its documented handlers only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec import Struct

from tests.http.client import SERVICE_KEY, settings_at
from tests.worlds import StoreWorld, fake_world
from tollhouse import wiring
from tollhouse.app import create_app
from tollhouse.errors import StoreError
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.limits.limiter import Limiter
from tollhouse.scripts import Argument, ScriptRunner
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

Messages = list[dict[str, Any]]


class AsgiRequest(Struct, frozen=True, kw_only=True):
    """A request as a server passes it to an application; without `content-length` if the length is None."""

    path: str = "/v1/limits/take"
    method: str = "POST"
    query: bytes = b""
    root_path: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = HEADERS
    chunks: tuple[bytes, ...] = (b'{"policy":"api","key":"ada"}',)
    length: bytes | None = b"as it is"
    cut_off: bool = False
    client: tuple[str, int] = ("127.0.0.1", 50_000)

    @property
    def scope(self) -> dict[str, Any]:
        length = str(sum(map(len, self.chunks))).encode() if self.length == b"as it is" else self.length
        told = () if length is None else ((b"content-length", length),)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "root_path": self.root_path,
            "headers": [*self.headers, *told],
            "client": self.client,
            "server": ("127.0.0.1", 8_000),
            "state": {},
        }

    @property
    def messages(self) -> Messages:
        parts: Messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in self.chunks]
        if not self.cut_off:
            parts[-1]["more_body"] = False
        return [*parts, {"type": "http.disconnect"}]


class FailingStore:
    """A store that raises `failure` if it is set, and counts its calls."""

    def __init__(self, store: ScriptRunner) -> None:
        self._store = store
        self.calls = 0
        self.failure: StoreError | None = None

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return await self._store.run(script, keys, args)


class Twin:
    """One of the two; `passed_on` counts the requests that reached the documented application."""

    def __init__(self, world: StoreWorld, *, fast: bool, **changes: Any) -> None:
        settings = settings_at(world.url, body_bytes=BODY_BYTES, limits=LimitSettings(policies=POLICIES, **changes))
        self.tollhouse = wiring.open(settings)
        self.tollhouse.stores = world.stores
        self.store = FailingStore(world.stores.limits)
        self.tollhouse.limits = Limiter(
            self.store,
            self.tollhouse.policies,
            self.tollhouse.keyring,
            self.tollhouse.metrics,
            refusals_max=100,
            clock=lambda: 0,
        )
        self.passed_on = 0
        keys = ApiKeys(self.tollhouse)
        self._documented = create_app(self.tollhouse, keys=keys)
        self._app = FastPath(self._counted, self.tollhouse, keys) if fast else self._counted

    async def renew(self) -> None:
        """Forget what was counted, in the store and in the process; metrics go on."""
        await self.tollhouse.stores.limits.command("FLUSHDB")
        self.tollhouse.limits.refusals.clear()
        self.passed_on = 0

    async def answer(self, asked: AsgiRequest) -> Messages:
        """Return the messages that the application sends."""
        waiting, sent = asked.messages, Messages()

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(asked.scope, receive, send)
        return [_ordered(message) for message in sent]

    @property
    def counts(self) -> list[str]:
        """Return the metrics of decisions."""
        text = self.tollhouse.metrics.render()[0].decode()
        return sorted(line for line in text.splitlines() if line.startswith("tollhouse_ratelimit_decisions_total"))

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed_on += 1
        await self._documented(scope, receive, send)


class Twins(Struct, frozen=True, kw_only=True):
    """Both services."""

    served: Twin
    documented: Twin

    async def answers(self, asked: AsgiRequest) -> tuple[Messages, Messages]:
        """Send the request to both."""
        return await self.served.answer(asked), await self.documented.answer(asked)


@asynccontextmanager
async def twins(**changes: Any) -> AsyncIterator[Twins]:
    """Make both, in worlds whose clocks do not move."""
    async with AsyncExitStack() as stack:
        served, documented = [await stack.enter_async_context(fake_world()) for _ in range(2)]
        yield Twins(
            served=Twin(served, fast=True, **changes),
            documented=Twin(documented, fast=False, **changes),
        )


def _ordered(message: dict[str, Any]) -> dict[str, Any]:
    """Sort the methods in `allow`: Litestar lists them in the order of a set, which differs between applications."""
    headers = [
        (name, b", ".join(sorted(value.split(b", "))) if name == b"allow" else value)
        for name, value in message.get("headers", ())
    ]
    return {**message, "headers": headers} if headers else message
