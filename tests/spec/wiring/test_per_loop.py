"""One Tollhouse for each event loop, also when threads open and close at the same time."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable

import pytest

from tests.runners import under_trio
from tollhouse import wiring
from tollhouse.errors import ConfigurationError
from tollhouse.wiring.per_loop import PerLoop

PATIENCE_S = 60.0


class ObservedLoop(asyncio.SelectorEventLoop):
    """A loop that acts once when it is asked whether it is closed."""

    act: Callable[[], None] | None = None

    def is_closed(self) -> bool:
        act, self.act = self.act, None
        if act is not None:
            act()
        return super().is_closed()


@pytest.fixture
def tollhouses() -> PerLoop:
    url = f"fake://{secrets.token_hex(8)}"
    return PerLoop(lambda: wiring.open(url))


def test_a_loop_that_opens_while_another_one_does_is_not_lost(tollhouses: PerLoop) -> None:
    """Threads that open at once find their own Tollhouse afterwards, and close it."""
    opened, go_on = threading.Event(), threading.Event()
    found: list[bool] = []

    async def there() -> None:
        tollhouse = await tollhouses.open()
        opened.set()
        assert await asyncio.to_thread(go_on.wait, PATIENCE_S)
        found.append(tollhouses.opened() is tollhouse)
        await tollhouses.aclose()
        found.append(tollhouses.opened() is None)

    async def here() -> None:
        await tollhouses.open()
        go_on.set()

    def begin() -> None:
        thread.start()
        assert opened.wait(PATIENCE_S)

    thread = threading.Thread(target=lambda: asyncio.run(there()))
    first = ObservedLoop()
    first.run_until_complete(tollhouses.open())
    first.act = begin

    asyncio.run(here())
    thread.join()
    first.run_until_complete(tollhouses.aclose())
    first.close()

    assert found == [True, True]


def test_outside_of_asyncio_the_remedy_is_named(tollhouses: PerLoop) -> None:
    """Under trio nothing is open, and opening names asyncio as the remedy."""

    async def use() -> None:
        assert tollhouses.opened() is None
        with pytest.raises(ConfigurationError) as refused:
            await tollhouses.open()

        assert refused.value.setting == "event loop"

    under_trio(use)
