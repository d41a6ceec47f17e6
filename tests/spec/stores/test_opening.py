"""The four stores take their connections, their clock and their randomness from the caller that gives them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.worlds import SCRIPTS
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import TcpAddress, urls_by_store


class Refusal:
    """A dialer that reaches no server, and the addresses that it was given."""

    def __init__(self) -> None:
        self.dialed: list[tuple[str, int]] = []

    async def dial(self, address: TcpAddress, **_: Any) -> Any:
        self.dialed.append((address.host, address.port))
        raise ConnectionRefusedError("there is no server")


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://10.0.0.1:7001", {("10.0.0.1", 7001)}),
        ("redis://10.0.0.1:7001,10.0.0.2:7002", {("10.0.0.1", 7001), ("10.0.0.2", 7002)}),
        ("redis+sentinel://10.0.0.1:7001,10.0.0.2:7002/main", {("10.0.0.1", 7001), ("10.0.0.2", 7002)}),
    ],
)
async def test_every_connection_comes_from_the_dialer_that_is_given(url: str, hosts: set[tuple[str, int]]) -> None:
    """Stores and resolvers open connections through the given dialer, pause by its jitter and read its clock."""
    refusal, spread, read = Refusal(), list[tuple[float, float]](), list[float]()

    def jitter(low: float, high: float) -> float:
        spread.append((low, high))
        return high

    def monotonic_s() -> float:
        read.append(float(len(read)))
        return read[-1]

    stores = open_stores(
        urls_by_store(url, {}), SCRIPTS, Metrics(), dialer=refusal, monotonic_s=monotonic_s, jitter=jitter
    )
    with pytest.raises(StoreUnavailable):
        await stores.sessions.run("sessions/list", ("{a}i", "{a}e", "{a}g"), ("{a}r", 1))
    await stores.aclose()

    assert set(refusal.dialed) == hosts
    assert spread
    assert bool(read) == (len(hosts) > 1)
