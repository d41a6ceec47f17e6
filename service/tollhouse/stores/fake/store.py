"""One store behind `fake://`.

It runs the same scripts, without their shebang. Data live as long as the process: every event loop that uses a name
finds what others left there. Nothing is durable, and nothing is shared between processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import ScriptFailed, StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.runtime.home_loop import HomeLoop, running_loop
from tollhouse.scripts import Argument, Scripts
from tollhouse.stores.arguments import PROBE_MS, as_list, scanned, with_primary
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.fake.server import fake_server
from tollhouse.stores.fake.subscription import Subscription
from tollhouse.stores.rights import MissingCommand
from tollhouse.stores.transport.connection import IN_FLIGHT_MAX
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.transport.waiting_calls import CALLS_MAX
from tollhouse.stores.urls import FakeTarget, StoreUrl

_PRIMARY: Final = "fakeredis"
_CALLS_MAX: Final = IN_FLIGHT_MAX + CALLS_MAX
_DOWN: Final = "a test has it down"


class FakeStore:
    """One logical database of a fakeredis; the same name in the URL means the same data."""

    def __init__(
        self,
        name: str,
        url: StoreUrl,
        scripts: Scripts,
        *,
        deadline_s: float,
        clock: ServerClock = server_time,
    ) -> None:
        assert isinstance(url.target, FakeTarget)
        server = fake_server(url.target.name, url.server)
        import fakeredis

        self.name = name
        self.url = url
        self.connections = 0
        self.in_flight = 0
        self.server: ServerInfo | None = ServerInfo(
            software="fakeredis",
            version=server.version,
            role="master",
            primary=_PRIMARY,
            appends=False,
            database=url.db,
        )
        self.is_refused = False
        self._scripts = scripts
        self._server = server
        self._deadline_s = deadline_s
        self._clock = clock
        self._home = HomeLoop(f"store {name!r}")
        self._client: Any = fakeredis.FakeAsyncRedis(server=server.redis, db=url.db, max_connections=_CALLS_MAX)
        self._client.response_callbacks.clear()  # replies as the server sends them, as from a real store
        self._subscription: Subscription | None = None
        server.add(name, url.db)

    def on_new_primary(self, action: Callable[[Any], Awaitable[None]]) -> None:
        """Do nothing: there is no other primary."""

    def listen(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
        on_subscribed: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass on what is published, as `Store.listen` does; there are gaps when a test injects them."""
        self._subscription = Subscription(channel, on_message, on_gap, on_subscribed)
        self._server.subscribe(self.name, self._subscription)

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument], *, waited_ms: int = 0) -> list[Any]:
        """Run a script as `Store.run` does; without a network there is no deadline to keep."""
        del waited_ms
        self._check_loop()
        if self._subscription is not None:
            self._subscription.start(self._client, f"tollhouse-listen-{self.name}")
        found = self._scripts[script]
        if found.primary_at is not None:
            args = with_primary(args, found.primary_at, _PRIMARY)
        rest = (len(keys), *keys, self._clock() or self._server.clock.now_ms(), *args)
        return as_list(await self._send(script, "EVAL", found.plain, *rest))

    @property
    def is_available(self) -> bool:
        """Return False while a test has the store down."""
        return not self._server.fault(self.name).is_down

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script; nothing here is durable."""
        return await self.run(script, keys, args), False

    async def info(self, section: str) -> dict[str, str]:
        """Return nothing: fakeredis has no INFO."""
        del section
        await self.ping()
        return {}

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Return the next cursor and the keys of one bounded step that match."""
        return scanned(await self.command("SCAN", cursor, "MATCH", match, "COUNT", count))

    def health(self) -> ServiceHealth | None:
        """Return None: there is one fixed server."""
        return None

    async def ping(self) -> float:
        """Return 0 once the server answers: the data is in this process."""
        await self.command("PING")
        return 0.0

    async def probe(self) -> None:
        """Write a key that expires soon, as `Store.probe` does."""
        await self.run(f"{self.name}/probe", [UNNAMED.probe(self.name)], [PROBE_MS])

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
        if self._subscription is not None:
            await self._subscription.aclose()
        await self._client.aclose()

    def _check_loop(self) -> None:
        if running_loop() is not self._home.loop:
            self._home.enter()

    async def _send(self, what: str, *parts: Argument) -> Any:
        delay_s = self._server.fault(self.name).delay_s
        # From Python 3.12 on, fakeredis answers without suspending, so an application that calls in a loop would starve
        # its event loop: no deadline would fire and no cancellation would arrive.
        await asyncio.sleep(min(delay_s, self._deadline_s))
        if self._server.fault(self.name).is_down:
            raise StoreUnavailable(self.name, "not-sent", _DOWN)
        task = asyncio.current_task()
        assert task is not None, "a call runs in a task"
        requests = task.cancelling()
        try:
            reply = await self._client.execute_command(*parts)
        except ResponseError as error:
            raise ScriptFailed(f"store {self.name!r}: {what}: {error}") from error
        except RedisConnectionError as error:
            raise StoreUnavailable(self.name, "not-sent", str(error)) from error
        if task.cancelling() > requests:  # fakeredis answers a call that is cancelled
            raise asyncio.CancelledError
        if delay_s >= self._deadline_s:
            raise StoreUnavailable(self.name, "ambiguous", f"no reply within {self._deadline_s:g} s")
        return reply
