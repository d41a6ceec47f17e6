"""What a fake store listens to: the messages of one channel, and gaps as a lost connection would leave them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

from tollhouse.runtime.home_loop import running_loop


class Subscription:
    """Listens from `start` until `aclose`; `lose` and `resume` may be called from any thread."""

    def __init__(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
        on_subscribed: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_subscribed = on_subscribed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def start(self, client: Any, name: str) -> None:
        """Begin to listen, unless it has begun."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._listen(client), name=name, context=Context())

    def lose(self) -> None:
        """Report a gap: the connection is lost."""
        self._call(self._on_gap)

    def resume(self) -> None:
        """Report that the channel is subscribed again."""
        self._call(self._on_subscribed)

    async def aclose(self) -> None:
        """Stop listening."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _call(self, action: Callable[[], None]) -> None:
        """Call in the loop that listens, because nothing else there is made for two threads."""
        if self._ended or self._loop is None or self._loop.is_closed():
            return
        if self._loop is running_loop() or not self._loop.is_running():
            action()
            return
        with suppress(RuntimeError):  # the loop was closed meanwhile, and none of it is used any more
            self._loop.call_soon_threadsafe(action)

    async def _listen(self, client: Any) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            try:
                async for message in pubsub.listen():
                    if self._ended:  # redis-py loses a cancellation while it connects, `asyncio.wait_for` as one comes
                        return
                    if message["type"] == "message":
                        self._on_message(message["data"])
                    else:
                        self._on_subscribed()
            finally:
                await pubsub.unsubscribe(self._channel)  # fakeredis keeps subscribers whose connection was closed
