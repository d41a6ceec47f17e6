"""Finds and follows the primary of a Sentinel service.

The resolver is connected to every Sentinel and receives what they announce. In rounds it polls all of them at once,
ranks the addresses that they name (`quorum`), and adopts the first whose server reports the primary role
(`role_probe`). Announcements and failed calls only start a search.

When Sentinel selects a replica, the resolver does not wait until Sentinel has noticed the promotion, which takes about
a second: it polls that replica itself and adopts it as soon as it is a primary, even if the old one still answers. A
failover that is aborted after that is one more change, back.

| event                                             | effect                                                         |
|---------------------------------------------------|----------------------------------------------------------------|
| Promotion of a replica of the present primary     | pause calls for `failover_pause_s`, poll the replica; doubt    |
| Promotion of the present primary (noticed late)   | pause calls for `promotion_pause_s`, once a generation; doubt  |
| any other Promotion, any TopologyChange           | doubt                                                          |
| FailoverAborted                                   | stop polling, end the pause and all quarantines; doubt         |
| a connection to a Sentinel made or lost           | request a round: announcements are not repeated                |
| a failed call on the present primary              | doubt; the next round asks the redirect target first           |
| the polled replica reports the primary role       | adopt it                                                       |
| a round finds a primary                           | adopt it, unless another was adopted while the round ran       |
| a round finds none                                | fail: permanent if no Sentinel voted, or the setup is wrong    |
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.discovery.primary_history import FailoverPause, Generation, PrimaryHistory, adoption_reason
from tollhouse.stores.discovery.quorum import latest_name, majority
from tollhouse.stores.discovery.role_probe import FormerPrimaries, RoleProbe, VerifiedPrimary
from tollhouse.stores.discovery.rounds import Rounds
from tollhouse.stores.discovery.sentinel_client import SentinelClient
from tollhouse.stores.discovery.sentinel_events import FailoverAborted, Promotion, SentinelEvent
from tollhouse.stores.discovery.sentinel_pool import Poll, SentinelPool
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.discovery.unavailable import Unavailable
from tollhouse.stores.succession import Lists, Succession, Successors
from tollhouse.stores.transport.dialer import Dialer, Login, login_of
from tollhouse.stores.urls import Host, SentinelService, TcpAddress, UnixAddress

_REASONS_MAX: Final = 4


class SentinelResolver:
    """A locator for one Sentinel service; one per service, login and process. Starts with the first `locate`.

    `locate`, `subscribe` and `aclose` are those of its `Rounds`.
    """

    def __init__(
        self,
        target: SentinelService,
        login: Login,
        dialer: Dialer,
        *,
        sentinel_login: Login | None = None,
        timing: ResolverTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        timing = ResolverTiming() if timing is None else timing
        self._service = target.service
        self._login = login
        self._timing = timing
        self._clock = clock
        self._probe = RoleProbe(target, login, dialer, timing)
        self._history = PrimaryHistory(target, timing.quarantine_s)
        self._rounds = rounds = Rounds(target.service, self._round, self._history, timing, clock, jitter)
        self.locate, self.subscribe, self.aclose = rounds.locate, rounds.subscribe, rounds.aclose
        make_client = partial(
            SentinelClient,
            target=target,
            login=login_of(target) if sentinel_login is None else sentinel_login,
            dialer=dialer,
            timing=timing,
            on_event=self._on_event,
            on_connection_change=lambda: rounds.request("connections"),
            jitter=jitter,
        )
        self._sentinels = SentinelPool(target, make_client)
        self._hint: Host | None = None
        self._polling: asyncio.Task[None] | None = None
        self._paused_for: Generation | None = None
        self._named: Generation | None = None
        self._polled_s = -math.inf
        self._succession = Succession(strangers_matter=True)
        self._replicas: Lists = ()
        self._former = FormerPrimaries(self._probe)

    def login(self) -> Login:
        """Return the login of the URL."""
        return self._login

    def suspect(self, address: TcpAddress | UnixAddress, hint: FailoverHint) -> None:
        """Take a hint that `address` is not the primary any more; no effect unless it is the present one."""
        if self._rounds.suspect(address, hint.why):
            self._hint = hint.candidate or self._hint

    def health(self) -> ServiceHealth:
        """Return the state of the service; a replica is promotable by the rules of `succession`."""
        poll = self._sentinels.last_poll
        return ServiceHealth(
            service=self._service,
            sentinels_known=poll.known,
            sentinels_reachable=self._sentinels.reachable,
            quorum=poll.quorum,
            promotable=self._succession.view(self._replicas, self._history.aliases, believed=True).promotable,
            successors=self._successors(poll),
            generation=self._history.current,
            reason=self._rounds.reason,
            refused=self._rounds.refused,
            silent=tuple(one.reason for one in poll.unavailable),
            primary_name=latest_name(poll.votes, self._history.aliases),
        )

    def _successors(self, poll: Poll) -> Successors | None:
        """Return what could replace the primary; None while Sentinels name another, or no majority has named it yet.

        Until then the Sentinel that leads the failover may be the only one that knows of the new primary. If it is
        lost, the others go on with the former one, and make it the primary of all that follow the new one.

        States are believed that a majority reported not long ago, with no doubt since: each return of a replica that
        was down is announced, and a doubt. Sentinels that fell silent may have seen anything.
        """
        aliases = self._history.aliases
        if self._named is not self._history.current or (poll.votes and poll.latest not in aliases):
            return None
        fresh = self._clock() - self._polled_s <= self._timing.news_s
        certain = not self._rounds.reason and majority(poll.votes, poll.known) in aliases
        return self._succession.view(self._replicas, aliases, believed=fresh and certain)

    async def _round(self, doubts: int) -> bool:
        """Poll the Sentinels, then ask the servers that they name; return True if all agree."""
        began = self._history.current
        hint, self._hint = self._hint, None
        began_s = self._clock()
        poll = await self._sentinels.poll_all(self._rounds.tasks)
        self._take_replicas(poll.replicas)
        self._history.confirm(poll.votes)
        ranking = self._history.candidates(poll.votes, poll.known, hint, self._clock())
        found, refusals = await self._first_primary(ranking)
        if self._history.current is not began:
            return False  # a promotion was seen meanwhile; what this round learned is older
        if found is None:
            refused = any(one.permanent for one in (refusals if poll.votes else poll.unavailable))
            reason = _failure(self._service, refusals, poll)
            self._rounds.fail(reason, permanent=refused or not poll.votes, refused=refused)
            return False
        if self._rounds.adopt(found, adoption_reason(found, hint), poll.votes, doubts):
            self._hint = None
        if poll.latest in self._history.aliases:
            self._polled_s = began_s
            if majority(poll.votes, poll.known) in self._history.aliases:
                self._named = self._history.current
        return poll.agreed in self._history.aliases and poll.settled

    def _take_replicas(self, lists: Lists) -> None:
        """Take what the Sentinels list, and ask the former primaries among it for their offsets, in the background."""
        self._replicas = self._former.completed(lists)
        if asking := self._former.ask(lists):
            task = self._rounds.tasks.create_task(asking)
            task.add_done_callback(lambda _: self._on_offsets(lists))

    def _on_offsets(self, lists: Lists) -> None:
        if lists is self._sentinels.last_poll.replicas:
            self._replicas = self._former.completed(lists)

    async def _first_primary(self, ranking: Sequence[Host]) -> tuple[VerifiedPrimary | None, list[Unavailable]]:
        refusals: list[Unavailable] = []
        for host in ranking:
            outcome = await self._probe.find_primary(host)
            if isinstance(outcome, VerifiedPrimary):
                return outcome, refusals
            refusals.append(outcome)
        return None, refusals

    def _on_event(self, event: SentinelEvent) -> None:
        if self._rounds.closed:
            return
        match event:
            case Promotion(new_primary=new, old_primary=old):
                if old in self._history.aliases and new not in self._history.aliases:
                    self._follow_promotion(new)
                elif new in self._history.aliases:
                    self._pause_after_promotion()
                self._rounds.doubt("promotion")
            case FailoverAborted():
                self._stop_following()
                self._history.clear_quarantine()
                self._rounds.publish(FailoverPause(wait_s=0))
                self._rounds.doubt("aborted")
            case _:
                self._rounds.doubt(event.channel)

    def _follow_promotion(self, host: Host) -> None:
        """Pause calls and poll the replica that is to be the primary; the latest announcement counts."""
        self._stop_following()
        self._rounds.publish(FailoverPause(wait_s=self._timing.failover_pause_s))
        self._polling = self._rounds.tasks.create_task(self._poll_replica(host))

    def _pause_after_promotion(self) -> None:
        """Pause calls: Sentinel has only now noticed the new primary, and closes all its connections."""
        if self._history.current is not self._paused_for:
            self._paused_for = self._history.current
            self._rounds.publish(FailoverPause(wait_s=self._timing.promotion_pause_s))

    def _stop_following(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _poll_replica(self, host: Host) -> None:
        began, give_up_s = self._history.current, self._clock() + self._timing.promotion_timeout_s
        found = await self._probe.await_promotion(
            host, lambda: self._history.current is began and self._clock() < give_up_s
        )
        if found is not None and self._rounds.adopt(found, "promoted", (), self._rounds.doubts):
            self._hint = None


def _failure(service: str, refusals: Sequence[Unavailable], poll: Poll) -> str:
    """Return why no primary was found: first what servers reported, then what kept Sentinels from answering."""
    reasons = [one.reason for one in (*refusals, *poll.unavailable)]
    return f"no primary of {service!r} is known: {'; '.join(reasons[:_REASONS_MAX]) or 'no Sentinel names one'}"
