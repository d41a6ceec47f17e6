"""What a drill asks of the clients that it puts under load, and the settings that all of them share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, Protocol, get_args

from msgspec import Struct

from tollhouse.drill.results.admission import Window
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.limits.decision import Take
from tollhouse.settings import LimitSettings, PolicySettings, Settings
from tollhouse.wiring import Tollhouse

ClientName = Literal["tollhouse", "redis-py"]
CLIENTS: Final[tuple[ClientName, ...]] = get_args(ClientName)
Via = Literal["library", "http"]
VIAS: Final[tuple[Via, ...]] = get_args(Via)

DEADLINE_MS: Final = 1000
OWN: Final = "own"
"""The policy of takes on keys of their own."""
OWN_UNITS: Final = 1_000_000
HOT: Final = "hot"
HOT_KEY: Final = "everybody"
"""The policy of takes on the one key that all of them share, and that key."""
HOT_WINDOW: Final = Window(limit=100, window_ms=10_000)

_POLICIES: Final = {
    OWN: f"{OWN_UNITS}/hour",
    HOT: f"{HOT_WINDOW.limit}/{HOT_WINDOW.window_ms // 1000} seconds",
    # Those of our own endpoints: the drill is one caller, and would meet them at once.
    "session": f"{OWN_UNITS}/second",
    "ai": f"{OWN_UNITS}/second",
}


class Answer(Struct, frozen=True, kw_only=True):
    """What a client was answered; the members are those of a `Call`."""

    accepted: bool = True
    durable: bool | None = None
    degraded: bool = False
    foreign: bool = False


class State(Struct, frozen=True, kw_only=True):
    """How a client stands; None is what cannot be seen of it.

    `in_flight` counts the calls whose reply has not arrived, those nobody waits for included, and `connections` all
    that were ever made. `generation` counts the primaries so far, the last since `generation_s` on the loop's clock.
    """

    in_flight: int | None = None
    connections: int | None = None
    generation: int | None = None
    generation_s: float = 0.0


class Client(Protocol):
    """One client under drill."""

    async def call(self, operation: Operation, subject: str) -> Answer:
        """Do one operation on one subject; raises whatever the client raises."""
        ...

    def failure(self, error: BaseException) -> Failure:
        """Say what a call that raised this may have done."""
        ...

    async def held(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Tell which of these subjects a server has; `server` is connected to it and to no other."""
        ...

    def state(self) -> State:
        """Tell how the client stands."""
        ...


def settings(url: str, secret: bytes) -> Settings:
    """Give the settings under which every client of a drill works."""
    policies = {name: PolicySettings(limit=limit) for name, limit in _POLICIES.items()}
    return Settings(url=url, secret=(secret,), deadline_ms=DEADLINE_MS, limits=LimitSettings(policies=policies))


def state_of(tollhouse: Tollhouse) -> State:
    """Tell how the stores of this process stand."""
    stores = tollhouse.stores.all()
    health = stores[0].watch()
    generation = None if health is None else health.generation
    return State(
        in_flight=sum(store.in_flight for store in stores),
        connections=sum(store.connections for store in stores),
        generation=None if generation is None else generation.number,
        generation_s=0.0 if generation is None else generation.at_s,
    )


def shared_take(subject: str) -> list[Take]:
    """Give a take on the shared key, and its trace: both go out in one call of one script, and are lost together."""
    return [Take(policy=HOT, key=HOT_KEY, cost=1), Take(policy=OWN, key=subject, cost=1)]


def fingerprint(subject: str) -> int:
    """Give a number from 1 to 1000 that tells a call from its neighbours, for replies that carry one back."""
    return 1 + int(subject.rpartition("-")[2]) % 1000
