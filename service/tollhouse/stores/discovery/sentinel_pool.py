"""All Sentinels of one service: connected to, polled together, and discovered from each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tollhouse.logs import Log
from tollhouse.stores.discovery.quorum import Vote, majority, members
from tollhouse.stores.discovery.sentinel_client import SentinelClient
from tollhouse.stores.discovery.sentinel_replies import SentinelReply
from tollhouse.stores.discovery.unavailable import Unavailable
from tollhouse.stores.succession import Lists
from tollhouse.stores.urls import Host, SentinelService

_log = Log("tollhouse.stores")

_GRACE_S: Final = 0.01
"""How long late replies are awaited once a majority is clear: they also name replicas and other Sentinels."""

Reach = Literal["majority", "minority", "none"]
"""How many of the Sentinels have a connection."""
_EVENTS: Final[dict[Reach, tuple[str, int]]] = {
    "majority": ("the sentinels are reachable again", logging.INFO),
    "minority": ("too few sentinels are reachable for a failover", logging.WARNING),
    "none": ("no sentinel is reachable", logging.ERROR),
}


class Poll(Struct, frozen=True, kw_only=True):
    """What the Sentinels replied when all were polled; `known` counts those that exist, with a reply or not."""

    votes: tuple[Vote, ...] = ()
    known: int
    quorum: int = 0
    replicas: Lists = ()
    unavailable: tuple[Unavailable, ...] = ()

    @property
    def agreed(self) -> Host | None:
        """The address that all name; None if they differ, or none replied."""
        addresses = {vote.address for vote in self.votes}
        return addresses.pop() if len(addresses) == 1 else None

    @property
    def latest(self) -> Host | None:
        """The address that is named with the latest epoch; None if no Sentinel replied."""
        return max(self.votes, key=lambda vote: vote.epoch).address if self.votes else None

    @property
    def settled(self) -> bool:
        """Whether every replica is up or down; one that is neither may change without an announcement."""
        return all(one.state != "unsettled" for each in self.replicas for one in each)


class SentinelPool:
    """Clients for every Sentinel. Their tasks belong to the group that `poll_all` is given, and end with it."""

    def __init__(self, target: SentinelService, make_client: Callable[[Host], SentinelClient]) -> None:
        self.last_poll = Poll(known=len(target.hosts))
        self._service = target.service
        self._configured = target.hosts
        self._make_client = make_client
        self._clients: dict[Host, SentinelClient] = {}
        self._client_tasks: dict[Host, asyncio.Task[None]] = {}
        self._reach: Reach = "majority"

    @property
    def reachable(self) -> int:
        """The number of Sentinels with a connection; one with two addresses counts once."""
        return len({client.id for client in self._clients.values() if client.connected})

    async def poll_all(self, tasks: asyncio.TaskGroup) -> Poll:
        """Poll all Sentinels at once; return when all have replied, or soon after a majority is clear."""
        if not self._clients:
            self._set_members(tasks, self._configured)
        outcomes = await self._collect(tasks)
        replies = tuple({one.vote.sentinel: one for one in outcomes if isinstance(one, SentinelReply)}.values())
        connected = {host: client.id for host, client in self._clients.items() if client.connected}
        peers = [reply.peers for reply in replies]
        self._set_members(tasks, members(self._configured, tuple(self._clients), connected, peers))
        self.last_poll = self._count(replies, tuple(one for one in outcomes if isinstance(one, Unavailable)))
        self._log_reach()
        return self.last_poll

    async def _collect(self, tasks: asyncio.TaskGroup) -> list[SentinelReply | Unavailable]:
        outcomes: list[SentinelReply | Unavailable] = []
        late: list[asyncio.Task[SentinelReply | Unavailable]] = [
            tasks.create_task(client.poll()) for client in self._clients.values()
        ]
        while late:
            decided = self._has_majority(outcomes)
            done, _ = await asyncio.wait(
                late, timeout=_GRACE_S if decided else None, return_when=asyncio.FIRST_COMPLETED
            )
            # In the order of the clients: sets have none that another run repeats.
            outcomes.extend(task.result() for task in late if task in done)
            late = [task for task in late if task not in done]
            if decided and not done:
                break
        for task in late:
            task.cancel()
        return outcomes

    def _has_majority(self, outcomes: Sequence[SentinelReply | Unavailable]) -> bool:
        replies = [one for one in outcomes if isinstance(one, SentinelReply)]
        return majority([reply.vote for reply in replies], self._known(replies)) is not None

    def _count(self, replies: Sequence[SentinelReply], unavailable: tuple[Unavailable, ...]) -> Poll:
        """Sum the replies up; without any, the replicas stay as they were."""
        if not replies:
            return msgspec.structs.replace(self.last_poll, votes=(), unavailable=unavailable)
        return Poll(
            votes=tuple(reply.vote for reply in replies),
            known=self._known(replies),
            quorum=max(reply.quorum for reply in replies),
            replicas=tuple(reply.replicas for reply in replies),
            unavailable=unavailable,
        )

    def _known(self, replies: Sequence[SentinelReply]) -> int:
        """Return the number of Sentinels as they count themselves: their majority is one of that number."""
        return max([len(self._configured), len(replies), *(reply.sentinels for reply in replies)])

    def _set_members(self, tasks: asyncio.TaskGroup, hosts: tuple[Host, ...]) -> None:
        """Run a client for each of the hosts, and no other."""
        for host in [host for host in self._clients if host not in hosts]:
            self._client_tasks.pop(host).cancel()
        self._clients = {host: self._clients.get(host) or self._make_client(host) for host in dict.fromkeys(hosts)}
        for host, client in self._clients.items():
            if host not in self._client_tasks:
                self._client_tasks[host] = tasks.create_task(client.run())

    def _log_reach(self) -> None:
        """Log each change of reach once."""
        reachable, known = self.reachable, self.last_poll.known
        reach: Reach = "none" if not reachable else "majority" if reachable * 2 > known else "minority"
        if reach != self._reach:
            self._reach = reach
            event, level = _EVENTS[reach]
            _log.log(level, event, extra={"service": self._service, "reachable": reachable, "known": known})
