"""The protocol of the clients under drill, and the settings that all of them share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, Protocol, get_args

from msgspec import Struct

from tollhouse.drill.results.admission import SharedLimit
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.limits.decision import Take
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings
from tollhouse.wiring import Tollhouse

ClientName = Literal["tollhouse", "redis-py"]
CLIENTS: Final[tuple[ClientName, ...]] = get_args(ClientName)
Via = Literal["library", "http"]
VIAS: Final[tuple[Via, ...]] = get_args(Via)

DEADLINE_MS: Final = 1000
OWN: Final = "own"
"""The policy of takes on their own keys."""
OWN_UNITS: Final = 1_000_000
HOT: Final = "hot"
HOT_KEY: Final = "everybody"
"""The policy of takes on the one key that all of them share, and that key."""
HOT_LIMIT: Final = SharedLimit(limit=100, window_ms=10_000)

_POLICIES: Final = {
    OWN: f"{OWN_UNITS}/hour",
    HOT: f"{HOT_LIMIT.limit}/{HOT_LIMIT.window_ms // 1000} seconds",
    # The policies of our own endpoints: the drill is one client, and would exceed them at once.
    "session": f"{OWN_UNITS}/second",
    "ai": f"{OWN_UNITS}/second",
}


class CallResult(Struct, frozen=True, kw_only=True):
    """The reply that a client got; the fields are those of a `Call`."""

    accepted: bool = True
    durable: bool | None = None
    degraded: bool = False
    foreign: bool = False


class ClientState(Struct, frozen=True, kw_only=True):
    """The state of a client; None is what it does not expose.

    `in_flight` counts the calls whose reply has not arrived, cancelled ones included, and `connections` all that were
    ever made. `generation` counts the primaries so far; the last began at `generation_s` on the loop's clock.
    """

    in_flight: int | None = None
    connections: int | None = None
    generation: int | None = None
    generation_s: float = 0.0


class DrillClient(Protocol):
    """One client under drill."""

    async def call(self, operation: Operation, subject: str) -> CallResult:
        """Do one operation on one subject; raises what the client raises."""
        ...

    def failure(self, error: BaseException) -> Failure:
        """Return what a call that raised `error` may have done."""
        ...

    async def surviving(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Return those subjects that a server has; `server` is connected to it and to no other."""
        ...

    def state(self) -> ClientState:
        """Return the state of the client."""
        ...


def client_settings(url: str, secret: bytes, max_unreplicated_ms: int | None = None) -> Settings:
    """Return the settings of every client of a drill."""
    policies = {name: PolicySettings(limit=limit) for name, limit in _POLICIES.items()}
    return Settings(
        url=url,
        secret=(secret,),
        deadline_ms=DEADLINE_MS,
        max_unreplicated_ms=max_unreplicated_ms,
        limits=LimitSettings(policies=policies),
    )


def shared_take(subject: str) -> list[Take]:
    """Return a take on the shared key and its trace; they are sent in one call of one script, and lost together."""
    return [Take(policy=HOT, key=HOT_KEY, cost=1), Take(policy=OWN, key=subject, cost=1)]


def fingerprint(subject: str) -> int:
    """Return a number from 1 to 1000 that differs between neighbouring calls, for replies that carry it back."""
    return 1 + int(subject.rpartition("-")[2]) % 1000
