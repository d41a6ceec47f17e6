"""What one Sentinel has seen of a server or of another Sentinel. No I/O."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from tests.simulation.valkey.server import Server
from tollhouse.stores.urls import Host

Reconfiguration = Literal["", "sent", "in-progress", "done"]


class Report(Struct, frozen=True, kw_only=True):
    """What a server said of itself in INFO, and when."""

    at_s: float
    run_id: str
    is_primary: bool
    primary: Host | None
    link_up: bool
    link_down_s: float
    priority: int
    offset: int
    replicas: tuple[Host, ...]


def report(server: Server) -> Report:
    """Return what INFO of a server says now."""
    replicator = server.replicator
    upstream = replicator.upstream
    up = upstream.state == "connected"
    return Report(
        at_s=replicator.now_s,
        run_id=server.run_id,
        is_primary=replicator.is_primary,
        primary=upstream.host,
        link_up=up,
        link_down_s=0.0 if up or upstream.host is None else max(replicator.now_s - upstream.down_s, 1.0),
        priority=server.priority,
        offset=replicator.history.offset,
        replicas=tuple(replicator.followers),
    )


class View:
    """A server or a Sentinel, seen from one Sentinel; `s_down` is its own opinion."""

    def __init__(self, host: Host, now_s: float) -> None:
        self.host = host
        self.seen_s = now_s
        self.silent_s: float | None = now_s
        self.s_down = False
        self.down_s = -math.inf
        self.report: Report | None = None
        self.priority = 100
        self.offset = 0
        self.role_s = now_s
        self.moved_s = now_s
        self.promoted = False
        self.reconfiguration: Reconfiguration = ""
        self.sent_s = -math.inf

    @property
    def answers(self) -> bool:
        """Return whether the last ping was answered."""
        return self.silent_s is None

    def take(self, new: Report) -> Report | None:
        """Take a report; return the one before. A primary says nothing of a replica's priority and offset."""
        old, self.report = self.report, new
        if not new.is_primary:
            self.priority, self.offset = new.priority, new.offset
        if old is None or old.is_primary != new.is_primary:
            self.role_s = self.moved_s = new.at_s
        elif old.primary != new.primary:
            self.moved_s = new.at_s
        return old


class Peer(View):
    """Another Sentinel: besides, what it thinks of the primary, and whom it has voted for."""

    def __init__(self, host: Host, identity: str, now_s: float) -> None:
        super().__init__(host, now_s)
        self.identity = identity
        self.primary_down = False
        self.leader = ""
        self.leader_epoch = 0
        self.answered_s = -math.inf
        self.asked_s = -math.inf

    def forget_old(self, now_s: float) -> None:
        """Forget an opinion that was not repeated for five seconds."""
        if now_s - self.answered_s > 5.0:
            self.primary_down, self.leader = False, ""


def best(replicas: list[View], primary: View, down_after_s: float, now_s: float) -> View | None:
    """Return the replica to promote: by priority, then by offset, then by run id; None if none may be.

    A former primary that is back and was not converted yet is as good as any, with the priority and the offset that it
    had when it was last seen as a replica.
    """
    longest_s = (now_s - primary.down_s if primary.s_down else 0.0) + down_after_s * 10
    valid_s = 5.0 if primary.s_down else 30.0
    usable: list[tuple[tuple[int, int, str], View]] = []
    for view in replicas:
        told = view.report
        if told is None or view.s_down or not view.answers or view.priority == 0:
            continue
        if now_s - told.at_s > valid_s or told.link_down_s > longest_s:
            continue
        usable.append(((view.priority, -view.offset, told.run_id), view))
    return min(usable, key=lambda pair: pair[0])[1] if usable else None
