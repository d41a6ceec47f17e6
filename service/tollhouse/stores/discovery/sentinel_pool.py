"""All Sentinels of a service: kept in touch with, asked at once, and learned about from each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.discovery.quorum import Vote, majority
from tollhouse.stores.discovery.roster import roster
from tollhouse.stores.discovery.sentinel_client import SentinelLine
from tollhouse.stores.discovery.sentinel_events import Announcement
from tollhouse.stores.discovery.sentinel_replies import Answer, NoAnswer
from tollhouse.stores.discovery.timing import Pace
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.urls import Host, Sentinel

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
    silent: tuple[NoAnswer, ...] = ()

    @property
    def agreed(self) -> Host | None:
        """Give the address that all name; None where they differ, or none answers."""
        addresses = {vote.address for vote in self.votes}
        return addresses.pop() if len(addresses) == 1 else None


class Sentinels:
    """Lines to every Sentinel. Its tasks belong to the group that `start` is given, and end with it."""

    def __init__(
        self,
        target: Sentinel,
        dialer: Dialer,
        pace: Pace,
        *,
        on_announced: Callable[[Announcement], None],
        on_changed: Callable[[], None],
        spread: Callable[[float, float], float],
    ) -> None:
        self.poll = Poll(known=len(target.hosts))
        self._target = target
        self._dialer = dialer
        self._pace = pace
        self._on_announced = on_announced
        self._on_changed = on_changed
        self._spread = spread
        self._lines: dict[Host, SentinelLine] = {}
        self._kept: dict[Host, asyncio.Task[None]] = {}
        self._strength: Strength = "whole"

    @property
    def reachable(self) -> int:
        """Count the Sentinels with a connection; one that has two names counts once."""
        return len({line.id for line in self._lines.values() if line.reachable})

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Give the Sentinels that are listened to, those of the URL first."""
        return tuple(self._lines)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Connect to the Sentinels of the URL."""
        self._listen(tasks, self._target.hosts)

    async def ask(self, tasks: asyncio.TaskGroup) -> Poll:
        """Ask all of them at once; done when all have answered, or soon after a majority is clear."""
        said = await self._said(tasks)
        answers = tuple({one.vote.sentinel: one for one in said if isinstance(one, Answer)}.values())
        met = {host: line.id for host, line in self._lines.items() if line.reachable}
        self._listen(tasks, roster(self._target.hosts, self.hosts, met, [answer.peers for answer in answers]))
        self.poll = self._counted(answers, tuple(one for one in said if isinstance(one, NoAnswer)))
        self._report()
        return self.poll

    async def _said(self, tasks: asyncio.TaskGroup) -> list[Answer | NoAnswer]:
        said: list[Answer | NoAnswer] = []
        late = {tasks.create_task(line.ask()) for line in self._lines.values()}
        while late:
            decided = self._decided(said)
            done, late = await asyncio.wait(
                late, timeout=_GRACE_S if decided else None, return_when=asyncio.FIRST_COMPLETED
            )
            said.extend(one.result() for one in done)
            if decided and not done:
                break
        for one in late:
            one.cancel()
        return said

    def _decided(self, said: Sequence[Answer | NoAnswer]) -> bool:
        answers = [one for one in said if isinstance(one, Answer)]
        return majority([answer.vote for answer in answers], _known(answers, len(self._target.hosts))) is not None

    def _counted(self, answers: Sequence[Answer], silent: tuple[NoAnswer, ...]) -> Poll:
        """Count every replica that at least one Sentinel could promote: that one may lead the next failover."""
        if not answers:
            return Poll(known=self.poll.known, quorum=self.poll.quorum, promotable=self.poll.promotable, silent=silent)
        return Poll(
            votes=tuple(answer.vote for answer in answers),
            known=_known(answers, len(self._target.hosts)),
            quorum=max(answer.quorum for answer in answers),
            promotable=frozenset(host for answer in answers for host in answer.promotable),
            silent=silent,
        )

    def _listen(self, tasks: asyncio.TaskGroup, hosts: tuple[Host, ...]) -> None:
        """Keep a line to each of the hosts, and to no other."""
        for host in set(self._lines).difference(hosts):
            self._kept.pop(host).cancel()
        self._lines = {host: self._lines.get(host) or self._line(host) for host in dict.fromkeys(hosts)}
        for host, line in self._lines.items():
            if host not in self._kept:
                self._kept[host] = tasks.create_task(line.keep())

    def _line(self, host: Host) -> SentinelLine:
        return SentinelLine(
            host,
            self._target,
            self._dialer,
            self._pace,
            on_announced=self._on_announced,
            on_changed=self._on_changed,
            spread=self._spread,
        )

    def _report(self) -> None:
        """Log when Sentinels go missing and when they are back, once each."""
        reachable, known = self.reachable, self.poll.known
        strength: Strength = "isolated" if not reachable else "whole" if reachable * 2 > known else "short"
        if strength == self._strength:
            return
        self._strength = strength
        fields = {"service": self._target.service, "reachable": reachable, "known": known}
        event, level = _EVENTS[strength]
        _log.log(level, event, extra=fields)


def _known(answers: Sequence[Answer], configured: int) -> int:
    """Count the Sentinels there are, as they count themselves: their own majority is one of that number."""
    return max([configured, len(answers), *(answer.sentinels for answer in answers)])
