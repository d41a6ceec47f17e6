"""A failover as one Sentinel sees it: the votes, and, when it leads, the steps from election to the new primary."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from tests.simulation.valkey.server import Server
from tests.simulation.valkey.views import Peer, View, best
from tollhouse.stores.urls import Host

if TYPE_CHECKING:
    from tests.simulation.valkey.sentinel import Sentinel

State = Literal["none", "wait-start", "select", "send", "wait-promotion", "reconfigure"]

ASK_S: Final = 1.0
ELECTION_S: Final = 10.0
RECONFIGURATION_S: Final = 10.0
DESYNC_S: Final = 1.0


class Failover:
    """The failover of one primary. It ends with `Sentinel.switch`, or is given up."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel = sentinel
        self.state: State = "none"
        self.promoted: View | None = None
        self._epoch = 0
        self._forced = False
        self._coordinated = False
        self._began_s = -math.inf
        self._changed_s = 0.0

    @property
    def under_way(self) -> bool:
        """Return whether this Sentinel tries to replace the primary."""
        return self.state != "none"

    @property
    def successor(self) -> Host | None:
        """Return the new primary, from the moment that its promotion was seen."""
        return self.promoted.host if self.promoted is not None and self.state == "reconfigure" else None

    def force(self, *, coordinated: bool) -> bool:
        """Begin without a vote, as an operator asks; return whether that was possible."""
        sentinel = self._sentinel
        chosen = best(list(sentinel.replicas.values()), sentinel.primary, sentinel.down_after_s, sentinel.now_s)
        if self.under_way or chosen is None:
            return False
        self._forced, self._coordinated = True, coordinated
        self._start()
        sentinel.wake()
        return True

    def turn(self) -> None:
        """Begin when the primary is down, and do the next step."""
        sentinel = self._sentinel
        rested = sentinel.now_s - self._began_s >= 2 * sentinel.failover_timeout_s
        if sentinel.o_down and not self.under_way and rested:
            self._start()
            self._ask(forced=True)
        steps = {
            "wait-start": self._wait_start,
            "select": self._select,
            "send": self._send,
            "wait-promotion": self._wait_promotion,
            "reconfigure": self._reconfigure,
        }
        if self.state in steps:
            steps[self.state]()
        self._ask(forced=False)

    def vote(self, epoch: int, candidate: str) -> tuple[str, int]:
        """Vote for a candidate, unless this Sentinel has voted in that epoch or a later one; return the vote."""
        sentinel = self._sentinel
        sentinel.see_epoch(epoch)
        if sentinel.voted[1] < epoch and sentinel.epoch <= epoch:
            sentinel.voted = (candidate, sentinel.epoch)
            sentinel.publish("+vote-for-leader", f"{candidate} {epoch}")
            if candidate != sentinel.identity:
                self._began_s = sentinel.now_s + sentinel.rng.uniform(0.0, DESYNC_S)
        return sentinel.voted

    def on_promotion(self, view: View) -> bool:
        """Learn that a server is a primary now; return whether it is the one that this failover has promoted."""
        sentinel = self._sentinel
        if view is not self.promoted or self.state != "wait-promotion":
            return False
        sentinel.config_epoch = self._epoch
        sentinel.publish("+promoted-slave", sentinel.describe(view))
        self._set("reconfigure")
        if self._coordinated:
            sentinel.order(view.host, Server.kill_clients)
            sentinel.order(sentinel.primary.host, Server.kill_clients)
        sentinel.hello()
        return True

    def on_report(self, view: View) -> None:
        """Follow a replica that was told to change its primary."""
        told = view.report
        if told is None or self.promoted is None or told.is_primary:
            return
        if view.reconfiguration == "sent" and told.primary == self.promoted.host:
            view.reconfiguration = "in-progress"
        if view.reconfiguration == "in-progress" and told.link_up:
            view.reconfiguration = "done"

    def _start(self) -> None:
        sentinel = self._sentinel
        self._epoch = sentinel.epoch + 1
        sentinel.see_epoch(self._epoch)
        sentinel.publish("+try-failover", sentinel.describe(sentinel.primary))
        self._began_s = sentinel.now_s + sentinel.rng.uniform(0.0, DESYNC_S)
        self._set("wait-start")

    def _set(self, state: State) -> None:
        self.state, self._changed_s = state, self._sentinel.now_s

    def _give_up(self, channel: str) -> None:
        sentinel = self._sentinel
        sentinel.publish(channel, sentinel.describe(sentinel.primary))
        if self.promoted is not None:
            self.promoted.promoted = False
        self.promoted, self._forced, self._coordinated = None, False, False
        self._set("none")

    def _wait_start(self) -> None:
        sentinel = self._sentinel
        if self._leader() != sentinel.identity and not self._forced:
            if sentinel.now_s - self._began_s > min(ELECTION_S, sentinel.failover_timeout_s):
                self._give_up("-failover-abort-not-elected")
            return
        sentinel.publish("+elected-leader", sentinel.describe(sentinel.primary))
        self._set("select")

    def _leader(self) -> str:
        """Return who has the votes of a majority of all known Sentinels, and of the quorum; empty if none has."""
        sentinel = self._sentinel
        counts: dict[str, int] = {}
        for peer in sentinel.peers.values():
            if peer.leader and peer.leader_epoch == sentinel.epoch:
                counts[peer.leader] = counts.get(peer.leader, 0) + 1
        favourite = max(counts, key=lambda leader: counts[leader]) if counts else sentinel.identity
        own, epoch = self.vote(self._epoch, favourite)
        if epoch == self._epoch:
            counts[own] = counts.get(own, 0) + 1
        winner = max(counts, key=lambda leader: counts[leader]) if counts else ""
        enough = max((len(sentinel.peers) + 1) // 2 + 1, sentinel.quorum)
        return winner if counts.get(winner, 0) >= enough else ""

    def _select(self) -> None:
        sentinel = self._sentinel
        chosen = best(list(sentinel.replicas.values()), sentinel.primary, sentinel.down_after_s, sentinel.now_s)
        if chosen is None:
            self._give_up("-failover-abort-no-good-slave")
            return
        chosen.promoted, self.promoted = True, chosen
        sentinel.note_selection(chosen)
        sentinel.publish("+selected-slave", sentinel.describe(chosen))
        self._set("send")

    def _send(self) -> None:
        sentinel, chosen = self._sentinel, self.promoted
        assert chosen is not None
        if not chosen.answers:
            if sentinel.now_s - self._changed_s > sentinel.failover_timeout_s:
                self._give_up("-failover-abort-slave-timeout")
            return
        if self._coordinated:
            hand_over = partial(_hand_over, target=chosen.host, timeout_ms=int(sentinel.failover_timeout_s * 1000))
            sentinel.order(sentinel.primary.host, hand_over)
        else:
            sentinel.reconfigure(chosen.host, None)
        sentinel.publish("+failover-state-wait-promotion", sentinel.describe(chosen))
        self._set("wait-promotion")

    def _wait_promotion(self) -> None:
        if self._sentinel.now_s - self._changed_s > self._sentinel.failover_timeout_s:
            self._give_up("-failover-abort-slave-timeout")

    def _reconfigure(self) -> None:
        """Order one replica after the other to follow the new primary; end when all that are up do, or in time."""
        sentinel, chosen = self._sentinel, self.promoted
        assert chosen is not None
        others = [view for view in sentinel.replicas.values() if view is not chosen]
        busy = any(view.reconfiguration in ("sent", "in-progress") for view in others)
        for view in others:
            if view.reconfiguration == "sent" and sentinel.now_s - view.sent_s > RECONFIGURATION_S:
                view.reconfiguration = "done"
            if not busy and not view.reconfiguration and view.answers:
                busy = True
                self._point(view, chosen)
        if not chosen.s_down:
            self._end_when_done(others, chosen)

    def _end_when_done(self, others: list[View], chosen: View) -> None:
        sentinel = self._sentinel
        late = sentinel.now_s - self._changed_s > sentinel.failover_timeout_s
        waiting = [view for view in others if view.reconfiguration != "done" and not view.s_down]
        if waiting and not late:
            return
        for view in waiting:
            if view.reconfiguration == "" and view.answers:
                self._point(view, chosen)
        sentinel.publish("+failover-end", sentinel.describe(sentinel.primary))
        sentinel.switch(chosen.host)

    def _point(self, view: View, chosen: View) -> None:
        sentinel = self._sentinel
        sentinel.reconfigure(view.host, chosen.host)
        sentinel.publish("+slave-reconf-sent", sentinel.describe(view))
        view.reconfiguration, view.sent_s = "sent", sentinel.now_s

    def _ask(self, *, forced: bool) -> None:
        """Ask the other Sentinels whether they think that the primary is down, and for their vote."""
        sentinel = self._sentinel
        if not sentinel.primary.s_down and not (self._coordinated and self.state == "wait-start"):
            return
        candidate = sentinel.identity if self.under_way else ""
        for peer in sentinel.peers.values():
            recent = sentinel.now_s - max(peer.answered_s, peer.asked_s) < ASK_S
            if peer.answers and (forced or not recent):
                peer.asked_s = sentinel.now_s
                self._ask_one(peer, candidate)

    def _ask_one(self, peer: Peer, candidate: str) -> None:
        sentinel = self._sentinel
        other, primary, epoch = sentinel.sentinels[peer.host], sentinel.primary.host, sentinel.epoch
        send, here, there = sentinel.network.send, sentinel.host[0], peer.host[0]

        def asked() -> None:
            if other.alive:
                down = other.primary.s_down and other.primary.host == primary
                vote = other.failover.vote(epoch, candidate) if candidate else ("", 0)
                send(there, here, lambda: heard(down, vote))

        def heard(down: bool, vote: tuple[str, int]) -> None:
            peer.answered_s, peer.primary_down = sentinel.now_s, down
            if vote[0]:
                peer.leader, peer.leader_epoch = vote

        send(here, there, asked)


def _hand_over(server: Server, target: Host, timeout_ms: int) -> None:
    server.handover.begin(target, timeout_ms)
