"""The store behind `fake://`: fakeredis inside this process, for tests of apps.

It runs the same scripts, without their shebang. Data live as long as the process: every event loop that uses a name
finds what others left there. Nothing is durable, and nothing is shared between processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from importlib.metadata import version as metadata_version
from importlib.util import find_spec
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import ConfigurationError, ScriptFailed, StoreUnavailable
from tollhouse.extras import pip_line
from tollhouse.runtime.home_loop import HomeLoop, running_loop
from tollhouse.scripts import Argument, Scripts
from tollhouse.stores.arguments import as_list, with_primary
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.rights import MissingCommand
from tollhouse.stores.transport.connection import IN_FLIGHT_MAX
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.transport.waiting_calls import CALLS_MAX
from tollhouse.stores.urls import FakeTarget, StoreUrl

_PRIMARY = "fakeredis"
_CALLS_MAX = IN_FLIGHT_MAX + CALLS_MAX


class FakeStore:
    """One logical database of a fakeredis; the same name in the URL means the same data."""

    def __init__(self, name: str, url: StoreUrl, scripts: Scripts, *, clock: ServerClock = server_time) -> None:
        for package in ("fakeredis", "lupa"):  # without lupa it runs no script
            if find_spec(package) is None:
                remedy = f"it needs {package}: {pip_line('tollhouse[test]')}"
                raise ConfigurationError("fake://", url.redacted(), remedy)
        import fakeredis

        assert isinstance(url.target, FakeTarget)
        self.name = name
        self.url = url
        self.connections = 0
        self.in_flight = 0
        self.server: ServerInfo | None = ServerInfo(
            software="fakeredis",
            version=metadata_version("fakeredis"),
            role="master",
            primary=_PRIMARY,
            appends=False,
            database=url.db,
        )
        self.shares_database = False
        self._scripts = scripts
        self._clock = clock
        self._home = HomeLoop(f"store {name!r}")
        server = fakeredis.FakeServer.get_server(f"tollhouse-{url.target.name}", (8,), "redis")
        self._client: Any = fakeredis.FakeAsyncRedis(server=server, db=url.db, max_connections=_CALLS_MAX)
        self._client.response_callbacks.clear()  # replies as the server sends them, as from a real store
        self._channel: tuple[str, Callable[[bytes], None], Callable[[], None]] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ended = False

    def on_new_primary(self, action: Callable[[Any], Awaitable[None]]) -> None:
        """Do nothing: there is no other primary."""

    def listen(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
        on_subscribed: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass on what is published, as `Store.listen` does; there are no gaps."""
        del on_gap
        self._channel = (channel, on_message, on_subscribed)

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script as `Store.run` does."""
        self._check_loop()
        if self._channel is not None and self._listening is None:
            self._listening = asyncio.create_task(
                self._listen(*self._channel), name=f"tollhouse-listen-{self.name}", context=Context()
            )
        found = self._scripts[script]
        rest = (len(keys), *keys, self._clock(), *with_primary(args, _PRIMARY))
        return as_list(await self._send(script, "EVAL", found.plain, *rest))

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script; nothing here is durable."""
        return await self.run(script, keys, args), False

    async def info(self, section: str) -> dict[str, str]:
        """Return nothing: fakeredis has no INFO."""
        del section
        return {}

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Return the next cursor and the keys of one bounded step that match."""
        following, found = await self.command("SCAN", cursor, "MATCH", match, "COUNT", count)
        return int(following), [key.decode() for key in found]

    def health(self) -> ServiceHealth | None:
        """Return None: there is one fixed server."""
        return None

    async def ping(self) -> float:
        """Return 0: the data is in this process."""
        self._check_loop()
        return 0.0

    async def command(self, *parts: str | bytes | int) -> Any:
        """Run one plain command."""
        self._check_loop()
        return await self._send(str(parts[0]), *parts)

    async def missing_commands(self) -> tuple[MissingCommand, ...]:
        """Return nothing: there are no accounts."""
        return ()

    async def aclose(self) -> None:
        """Close the client; the data stays with its name, for as long as the process."""
        self._home.close()
        self._ended = True
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        await self._client.aclose()

    def _check_loop(self) -> None:
        if running_loop() is not self._home.loop:
            self._home.enter()

    async def _send(self, what: str, *parts: Argument) -> Any:
        # From Python 3.12 on, fakeredis answers without suspending, so an application that calls in a loop would starve
        # its event loop: no deadline would fire and no cancellation would arrive.
        await asyncio.sleep(0)
        try:
            return await self._client.execute_command(*parts)
        except ResponseError as error:
            raise ScriptFailed(f"store {self.name!r}: {what}: {error}") from error
        except RedisConnectionError as error:
            raise StoreUnavailable(self.name, "not-sent", str(error)) from error

    async def _listen(
        self, channel: str, on_message: Callable[[bytes], None], on_subscribed: Callable[[], None]
    ) -> None:
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(channel)
            try:
                async for message in pubsub.listen():
                    if self._ended:  # redis-py loses a cancellation while it connects, `asyncio.wait_for` as one comes
                        return
                    if message["type"] == "message":
                        on_message(message["data"])
                    else:
                        on_subscribed()
            finally:
                await pubsub.unsubscribe(channel)  # fakeredis keeps subscribers whose connection was closed
