"""Finds the primary among the servers that a URL lists, without Sentinels.

Failover is managed elsewhere, by an operator or a cloud provider; this only detects it. In each round every listed
server is asked for its role, all at once, and the one that reports the primary role is used. Rounds run every few
seconds while all is well, and at once when a failed call puts the present primary in doubt. The primary that a replica
names is shown to operators and used for nothing else: a server that is not listed is never used.

Two primaries. Nothing that the servers report says which of them is right: replication offsets of two histories cannot
be compared, the longer one may be the stale one that was written to by mistake, and a primary that comes back after a
crash looks like any other. To guess would split the clients between them and lose what one half writes. So no client
is moved: connections to the present primary stay, no new ones are made, and the reason names the servers until one of
them is a replica. A list has no memory either: a primary that comes back when no other is there is used, however old
its data. If that matters, use Sentinels.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.discovery.primary_history import PrimaryHistory
from tollhouse.stores.discovery.role_probe import Primary, Replica, RoleProbe, RoleReply, VerifiedPrimary
from tollhouse.stores.discovery.rounds import Rounds
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.discovery.unavailable import Unavailable
from tollhouse.stores.succession import ListedReplica, Lists, Succession
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import Host, ServerList, TcpAddress, UnixAddress, format_host

_REASONS_MAX: Final = 4


class StaticResolver:
    """A locator for a list of servers; one per list, login and process. Starts with the first `locate`.

    `locate`, `subscribe` and `aclose` are those of its `Rounds`.
    """

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
        timing = ResolverTiming() if timing is None else timing
        self._hosts = target.hosts
        self._service = ", ".join(map(format_host, target.hosts))
        self._login = login
        self._probe = RoleProbe(target, login, dialer, timing)
        self._history = PrimaryHistory(target, timing.quarantine_s)
        self._rounds = rounds = Rounds(self._service, self._round, self._history, timing, clock, jitter)
        self.locate, self.subscribe, self.aclose = rounds.locate, rounds.subscribe, rounds.aclose
        self._clock = clock
        self._news_s = timing.news_s
        self._replies: tuple[RoleReply, ...] = ()
        self._asked_s = -math.inf
        self._listed: Lists = ()
        self._succession = Succession(strangers_matter=False)

    def login(self) -> Login:
        """Return the login of the URL."""
        return self._login

    def suspect(self, address: TcpAddress | UnixAddress, hint: FailoverHint) -> None:
        """Take a hint that `address` is not the primary any more; no effect unless it is the present one."""
        self._rounds.suspect(address, hint.why)

    def health(self) -> ServiceHealth:
        """Return the state of the servers; those that were replicas in the last round could be promoted."""
        roles = [reply.role for reply in self._replies]
        believed = not self._rounds.reason and self._clock() - self._asked_s <= self._news_s
        view = self._succession.view(self._listed, self._history.aliases, believed=believed)
        return ServiceHealth(
            service=self._service,
            promotable=view.promotable,
            successors=view,
            generation=self._history.current,
            reason=self._rounds.reason,
            refused=self._rounds.refused,
            silent=tuple(role.reason for role in roles if isinstance(role, Unavailable)),
        )

    async def _round(self, doubts: int) -> bool:
        """Ask all servers at once; return True if one of them is a primary, and each has replied."""
        began_s = self._clock()
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(self._probe.ask(host)) for host in self._hosts]
        self._replies = tuple(task.result() for task in asking)
        self._listed = (tuple(map(_listed, self._replies)),)
        chosen = choose_primary(self._replies)
        if isinstance(chosen, str):
            roles = (reply.role for reply in self._replies)
            refused = any(isinstance(role, Unavailable) and role.permanent for role in roles)
            self._rounds.fail(chosen, permanent=True, refused=refused)
            return False
        found = VerifiedPrimary(host=chosen.host, peer=chosen.peer, start=chosen.host)
        self._rounds.adopt(found, "promoted", (), doubts)
        self._asked_s = began_s
        return not any(isinstance(reply.role, Unavailable) for reply in self._replies)


def choose_primary(replies: Sequence[RoleReply]) -> RoleReply | str:
    """Return the only server that is a primary; if there is none, or more than one, the reason and the remedy."""
    primaries: dict[Host, RoleReply] = {}
    for reply in replies:
        if isinstance(reply.role, Primary):
            primaries.setdefault(reply.peer, reply)  # two names of one server are one server
    if len(primaries) == 1:
        return next(iter(primaries.values()))
    if primaries:
        names = ", ".join(format_host(reply.host) for reply in primaries.values())
        return f"{len(primaries)} servers report the primary role: {names}; make all but one its replicas"
    return f"no listed server is a primary: {'; '.join(list(map(_describe, replies))[:_REASONS_MAX])}"


def _describe(reply: RoleReply) -> str:
    match reply.role:
        case Unavailable(reason=reason):
            return reason
        case Replica(primary=(_, _) as primary):
            return f"{format_host(reply.host)} is a replica of {format_host(primary)}"
        case _:
            return f"{format_host(reply.host)} is a replica"


def _listed(reply: RoleReply) -> ListedReplica:
    state = "up" if isinstance(reply.role, Replica) else "unsettled"
    return ListedReplica(aliases=frozenset({reply.host, reply.peer}), priority=1, state=state)
