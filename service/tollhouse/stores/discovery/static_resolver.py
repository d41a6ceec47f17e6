"""Endpoints: several listed servers, one of them the primary, and no Sentinel to ask which.

How it works. Whoever moves the primary is somebody else, a person or a provider; here it is only noticed. In
rounds, one at a time, every listed server is asked for its role, all at once, and the one that says that it is the
primary is used. Rounds come every few seconds while all is well, and at once when a link suspects the present
primary. What a replica says of whom it follows is told to people and used for nothing else: every listed server is
asked itself, and a server that is not listed is never used.

Two primaries. Nothing that the servers say tells which of them is right: replication offsets of two histories cannot
be compared, the longer one may be the stale one that was written to by mistake, and a primary that comes back from
the dead looks like any other. To guess is to split the clients between them, and to lose what one half writes. So
nobody is moved: connections to the present primary stay, no new ones are made, and the reason names the servers, until
one of them is a replica. A list has no memory either: a primary that comes back when no other is there is used,
however old what it holds. Where that matters, use Sentinels.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from tollhouse.stores.addresses import format_host
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.role_probe import Primary, Replica, read_greeting, read_role
from tollhouse.stores.discovery.sentinel_resolver import NoPrimary, ServiceHealth
from tollhouse.stores.discovery.timing import ResolverTiming, RoundSchedule
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import CALL_FAILED, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host, ServerList, TcpAddress, UnixAddress

_log = logging.getLogger("tollhouse.stores")

_FAILED: Final = (OSError, TimeoutError, *CALL_FAILED)
_LOGIN: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})
_REASONS_MAX: Final = 4


class Silent(Struct, frozen=True):
    """The server does not say what it is."""

    reason: str


class ServerReply(Struct, frozen=True, kw_only=True):
    """What one listed server answered, and the address behind its name."""

    host: Host
    peer: Host
    role: Primary | Replica | Silent


class StaticResolver:
    """Finds and follows the primary among listed servers; one per list, login and process. Starts when first asked."""

    def __init__(
        self,
        target: ServerList,
        login: Login,
        dialer: Dialer,
        *,
        timing: ResolverTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._target = target
        self._login = login
        self._dialer = dialer
        self._timing = ResolverTiming() if timing is None else timing
        self._clock = clock
        self._rhythm = RoundSchedule(self._timing, clock, jitter)
        self._subscribers: tuple[Callable[[PrimaryEvent], None], ...] = ()
        self._running: asyncio.Task[None] | None = None
        self._ended = False
        self._doubts, self._cleared = 1, 0
        self._generation: Generation | None = None
        self._peer: Host | None = None
        self._said: tuple[ServerReply, ...] = ()
        self._reason = "no server was asked yet"
        self._looked = asyncio.Event()

    async def locate(self) -> TcpAddress:
        """Give the address of the primary, as its server itself confirmed after the last doubt.

        Waits for at most two rounds. Raises NoPrimary where no listed server, or more than one, is a primary.
        """
        self._start()
        doubts = self._doubts
        while self._cleared < doubts or self._generation is None:
            if self._ended:
                raise NoPrimary(self._reason)
            assert self._running is not None
            if self._running.done():
                await self._running
            self._rhythm.request_round("wanted")
            await self._looked.wait()
            if self._reason:
                raise NoPrimary(self._reason)
        return self._generation.address

    def login(self) -> Login:
        """Give the login of the URL."""
        return self._login

    def suspect(self, address: TcpAddress | UnixAddress, signal: FailoverHint) -> None:
        """Suggest that `address` is the primary no more; of no effect unless it is the present one."""
        if self._generation is not None and address == self._generation.address:
            self._doubts += 1
            self._rhythm.request_round(signal.why)

    def subscribe(self, changed: Callable[[PrimaryEvent], None]) -> None:
        """Have `changed` called at every new generation: connections of the older ones are to be closed."""
        self._subscribers += (changed,)

    def health(self) -> ServiceHealth:
        """Describe the servers; those that answer as replicas, a few seconds ago at most, could be promoted."""
        return ServiceHealth(
            service=", ".join(map(format_host, self._target.hosts)),
            sentinels_known=0,
            sentinels_reachable=0,
            quorum=0,
            promotable=sum(isinstance(one.role, Replica) for one in self._said),
            generation=self._generation,
            reason=self._reason,
            silent=tuple(one.role.reason for one in self._said if isinstance(one.role, Silent)),
        )

    async def aclose(self) -> None:
        """End the rounds; later calls of `locate` raise NoPrimary."""
        self._ended, self._reason = True, "the stores were closed"
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    def _start(self) -> None:
        if self._running is None and not self._ended:
            self._running = asyncio.get_running_loop().create_task(self._run(), name="tollhouse-endpoints")

    async def _run(self) -> None:
        try:
            while True:
                calm = await self._round()
                await self._rhythm.wait(self._timing.interval_s if calm else self._timing.pause_max_s)
        finally:
            self._doubts += 1  # nobody looks any more, so nothing is certain
            self._wake_callers()

    async def _round(self) -> bool:
        """Ask all servers at once; tell whether one of them is the primary."""
        doubts = self._doubts
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(host)) for host in self._target.hosts]
        self._said = tuple(one.result() for one in asked)
        chosen = choose_primary(self._said)
        if isinstance(chosen, ServerReply):
            self._adopt(chosen)
            self._cleared, self._reason = doubts, ""
        else:
            if chosen != self._reason:
                _log.warning("no single primary", extra={"reason": chosen})
            self._doubts += 1
            self._reason = chosen
        self._wake_callers()
        return self._cleared == self._doubts

    async def _ask(self, host: Host) -> ServerReply:
        peer: Host | None = None
        try:
            async with asyncio.timeout(self._timing.timeout_s):
                address = self._address(host)
                lane, peer = await self._dialer.dial(address, on_lost=_nothing, stall_s=self._timing.timeout_s)
                try:
                    role = await self._role(lane)
                finally:
                    lane.close()
        except _FAILED as error:
            role = Silent(self._explained(host, error))
        return ServerReply(host=host, peer=peer or host, role=role)

    async def _role(self, lane: Connection) -> Primary | Replica:
        deadline_s = asyncio.get_running_loop().time() + self._timing.timeout_s
        frames = (self._login.hello("tollhouse-endpoints"), encode("ROLE"))
        greeting, role = await asyncio.gather(
            *(lane.send(frame, deadline_s) for frame in frames), return_exceptions=True
        )
        if isinstance(greeting, BaseException):
            raise greeting
        if isinstance(role, ServerError) and role.code == "NOPERM":
            return read_greeting(greeting)  # an account without the right to ROLE: the greeting knows
        if isinstance(role, BaseException):
            raise role
        return read_role(role)

    def _adopt(self, found: ServerReply) -> None:
        """Begin a new generation, unless it is the present primary, perhaps by another name."""
        present = self._generation
        address = self._address(found.host)
        if present is not None and (found.peer == self._peer or address == present.address):
            return
        self._peer = found.peer
        self._generation = generation = Generation(
            number=1 if present is None else present.number + 1,
            address=address,
            why="first" if present is None else "promoted",
            at_s=self._clock(),
            epoch=0,
        )
        level = logging.INFO if present is None else logging.WARNING
        fields = {"generation": generation.number, "address": format_host(found.host), "why": generation.why}
        _log.log(level, "primary adopted", extra=fields)
        for changed in self._subscribers:
            changed(generation)

    def _address(self, host: Host) -> TcpAddress:
        return TcpAddress(host=host[0], port=host[1], tls=self._target.tls, ca=self._target.ca)

    def _explained(self, host: Host, error: Exception) -> str:
        place = format_host(host)
        if isinstance(error, ServerError) and error.code in _LOGIN:
            return f"{place} refused the login: {error}; set the user and password in the URL"
        if isinstance(error, TimeoutError | DeadlinePassed):
            return f"{place}: no answer within {self._timing.timeout_s * 1000:g} ms"
        return f"{place}: {str(error) or type(error).__name__}"

    def _wake_callers(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()


def choose_primary(said: Sequence[ServerReply]) -> ServerReply | str:
    """Give the one server that is a primary; where none is, or several are, the reason and what mends it."""
    primaries: dict[Host, ServerReply] = {}
    for one in said:
        if isinstance(one.role, Primary):
            primaries.setdefault(one.peer, one)  # two names of one server are one server
    if len(primaries) == 1:
        return next(iter(primaries.values()))
    if primaries:
        names = ", ".join(format_host(one.host) for one in primaries.values())
        return f"{len(primaries)} servers say that they are the primary: {names}; make all but one its replicas"
    return f"no listed server is a primary: {'; '.join([_told(one) for one in said][:_REASONS_MAX])}"


def _told(one: ServerReply) -> str:
    match one.role:
        case Silent(reason=reason):
            return reason
        case Replica(primary=(_, _) as of):
            return f"{format_host(one.host)} is a replica of {format_host(of)}"
        case _:
            return f"{format_host(one.host)} is a replica"


def _nothing() -> None:
    pass
