"""All Sentinels of a service: kept in touch with, asked at once, and learned about from each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.discovery.quorum import Vote, majority
from tollhouse.stores.discovery.roster import members
from tollhouse.stores.discovery.sentinel_client import SentinelClient
from tollhouse.stores.discovery.sentinel_events import SentinelEvent
from tollhouse.stores.discovery.sentinel_replies import SentinelReply, Unavailable
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.urls import Host, SentinelService

_log = logging.getLogger("tollhouse.stores")

_GRACE_S: Final = 0.01
"""How long a late answer is waited for once a majority has decided; there is more in it than a vote."""

Strength = Literal["whole", "short", "isolated"]
"""More than half of the Sentinels are reachable · some are · none is."""
_EVENTS: Final[dict[Strength, tuple[str, int]]] = {
    "whole": ("the sentinels are reachable again", logging.INFO),
    "short": ("too few sentinels are reachable for a failover", logging.WARNING),
    "isolated": ("no sentinel is reachable", logging.ERROR),
}


class Poll(Struct, frozen=True, kw_only=True):
    """What the Sentinels said when they were all asked."""

    votes: tuple[Vote, ...] = ()
    known: int
    quorum: int = 0
    promotable: frozenset[Host] = frozenset()
    unavailable: tuple[Unavailable, ...] = ()

    @property
    def agreed(self) -> Host | None:
        """Give the address that all name; None where they differ, or none answers."""
        addresses = {vote.address for vote in self.votes}
        return addresses.pop() if len(addresses) == 1 else None


class SentinelPool:
    """Lines to every Sentinel. Its tasks belong to the group that `start` is given, and end with it."""

    def __init__(
        self,
        target: SentinelService,
        dialer: Dialer,
        timing: ResolverTiming,
        *,
        on_event: Callable[[SentinelEvent], None],
        on_connection_change: Callable[[], None],
        jitter: Callable[[float, float], float],
    ) -> None:
        self.last_poll = Poll(known=len(target.hosts))
        self._target = target
        self._dialer = dialer
        self._timing = timing
        self._on_event = on_event
        self._on_connection_change = on_connection_change
        self._jitter = jitter
        self._clients: dict[Host, SentinelClient] = {}
        self._client_tasks: dict[Host, asyncio.Task[None]] = {}
        self._strength: Strength = "whole"

    @property
    def reachable(self) -> int:
        """Count the Sentinels with a connection; one that has two names counts once."""
        return len({line.id for line in self._clients.values() if line.connected})

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Give the Sentinels that are listened to, those of the URL first."""
        return tuple(self._clients)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Connect to the Sentinels of the URL."""
        self._set_members(tasks, self._target.hosts)

    async def poll_all(self, tasks: asyncio.TaskGroup) -> Poll:
        """Ask all of them at once; done when all have answered, or soon after a majority is clear."""
        said = await self._collect_replies(tasks)
        answers = tuple({one.vote.sentinel: one for one in said if isinstance(one, SentinelReply)}.values())
        met = {host: line.id for host, line in self._clients.items() if line.connected}
        self._set_members(tasks, members(self._target.hosts, self.hosts, met, [answer.peers for answer in answers]))
        self.last_poll = self._poll_from(answers, tuple(one for one in said if isinstance(one, Unavailable)))
        self._report()
        return self.last_poll

    async def _collect_replies(self, tasks: asyncio.TaskGroup) -> list[SentinelReply | Unavailable]:
        said: list[SentinelReply | Unavailable] = []
        late = {tasks.create_task(line.poll()) for line in self._clients.values()}
        while late:
            decided = self._has_majority(said)
            done, late = await asyncio.wait(
                late, timeout=_GRACE_S if decided else None, return_when=asyncio.FIRST_COMPLETED
            )
            said.extend(one.result() for one in done)
            if decided and not done:
                break
        for one in late:
            one.cancel()
        return said

    def _has_majority(self, said: Sequence[SentinelReply | Unavailable]) -> bool:
        answers = [one for one in said if isinstance(one, SentinelReply)]
        return majority([answer.vote for answer in answers], _known(answers, len(self._target.hosts))) is not None

    def _poll_from(self, answers: Sequence[SentinelReply], silent: tuple[Unavailable, ...]) -> Poll:
        """Count every replica that at least one Sentinel could promote: that one may lead the next failover."""
        if not answers:
            return Poll(
                known=self.last_poll.known,
                quorum=self.last_poll.quorum,
                promotable=self.last_poll.promotable,
                unavailable=silent,
            )
        return Poll(
            votes=tuple(answer.vote for answer in answers),
            known=_known(answers, len(self._target.hosts)),
            quorum=max(answer.quorum for answer in answers),
            promotable=frozenset(host for answer in answers for host in answer.promotable),
            unavailable=silent,
        )

    def _set_members(self, tasks: asyncio.TaskGroup, hosts: tuple[Host, ...]) -> None:
        """Keep a line to each of the hosts, and to no other."""
        for host in set(self._clients).difference(hosts):
            self._client_tasks.pop(host).cancel()
        self._clients = {host: self._clients.get(host) or self._client(host) for host in dict.fromkeys(hosts)}
        for host, line in self._clients.items():
            if host not in self._client_tasks:
                self._client_tasks[host] = tasks.create_task(line.run())

    def _client(self, host: Host) -> SentinelClient:
        return SentinelClient(
            host,
            self._target,
            self._dialer,
            self._timing,
            on_event=self._on_event,
            on_connection_change=self._on_connection_change,
            jitter=self._jitter,
        )

    def _report(self) -> None:
        """Log when Sentinels go missing and when they are back, once each."""
        reachable, known = self.reachable, self.last_poll.known
        strength: Strength = "isolated" if not reachable else "whole" if reachable * 2 > known else "short"
        if strength == self._strength:
            return
        self._strength = strength
        fields = {"service": self._target.service, "reachable": reachable, "known": known}
        event, level = _EVENTS[strength]
        _log.log(level, event, extra=fields)


def _known(answers: Sequence[SentinelReply], configured: int) -> int:
    """Count the Sentinels there are, as they count themselves: their own majority is one of that number."""
    return max([configured, len(answers), *(answer.sentinels for answer in answers)])
