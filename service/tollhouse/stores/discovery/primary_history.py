"""Generations: which primary is used, since when, and which were left. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.discovery.quorum import FormerPrimary, Vote, candidates
from tollhouse.stores.discovery.role_probe import VerifiedPrimary
from tollhouse.stores.urls import Host, SentinelService, TcpAddress

AdoptionReason = Literal["first", "named", "followed", "promoted", "redirected"]
"""The first one · Sentinels name it · another server follows it · seen being promoted · the old one sent us there."""

_DEPOSED_MAX: Final = 8


class Generation(Struct, frozen=True, kw_only=True):
    """A primary, for as long as it was the primary; `at_s` is on the resolver's clock."""

    number: int
    address: TcpAddress
    why: AdoptionReason
    at_s: float
    epoch: int


class FailoverPause(Struct, frozen=True, kw_only=True):
    """The primary is being replaced: what can wait `wait_s` for the next generation should; 0 calls it off."""

    wait_s: float


PrimaryEvent = Generation | FailoverPause
"""What subscribers are told."""


def adoption_reason(found: VerifiedPrimary, hint: Host | None) -> AdoptionReason:
    """Tell how a primary was found: where its predecessor sent us, by name, or by following another server."""
    if hint is not None and found.start == hint:
        return "redirected"
    return "named" if found.host == found.start else "followed"


class PrimaryHistory:
    """The present generation, and the memory that keeps clients from going back to an earlier one by mistake."""

    def __init__(self, target: SentinelService, quarantine_s: float) -> None:
        self.current: Generation | None = None
        self.aliases: frozenset[Host] = frozenset()
        self.former: tuple[FormerPrimary, ...] = ()
        self.epoch = 0
        self._target = target
        self._quarantine_s = quarantine_s
        self._peer: Host | None = None

    @property
    def host(self) -> Host | None:
        """Give the present primary's host and port."""
        return None if self.current is None else (self.current.address.host, self.current.address.port)

    def candidates(self, votes: Sequence[Vote], known: int, hint: Host | None, now_s: float) -> tuple[Host, ...]:
        """Return the addresses to ask for their role, in order, the present primary's among them."""
        return candidates(votes, known, hint=hint, current=self.host, epoch=self.epoch, former=self.former, now_s=now_s)

    def confirm(self, votes: Sequence[Vote]) -> None:
        """Note the latest epoch in which Sentinels name the present primary."""
        self.epoch = max((vote.epoch for vote in votes if vote.address in self.aliases), default=self.epoch)

    def adopt(
        self, found: VerifiedPrimary, how: AdoptionReason, votes: Sequence[Vote], now_s: float
    ) -> Generation | None:
        """Begin a new generation with a verified primary; None where it is the present one, perhaps by another name."""
        if self.host is not None and (found.peer == self._peer or found.host == self.host):
            self.aliases, self._peer = frozenset({self.host, found.host, found.peer}), found.peer
            return None
        self.epoch = max((vote.epoch for vote in votes if vote.address == found.host), default=self.epoch)
        left = FormerPrimary(aliases=self.aliases, epoch=self.epoch, until_s=now_s + self._quarantine_s)
        names = frozenset({found.host, found.peer})
        barred = [old for old in (*self.former, left) if old.until_s > now_s and not old.aliases & names]
        self.former = tuple(barred[-_DEPOSED_MAX:])
        self.aliases, self._peer = names, found.peer
        host, port = found.host
        self.current = Generation(
            number=1 if self.current is None else self.current.number + 1,
            address=TcpAddress(host=host, port=port, tls=self._target.tls, ca=self._target.ca),
            why="first" if self.current is None else how,
            at_s=now_s,
            epoch=self.epoch,
        )
        return self.current

    def clear_quarantine(self) -> None:
        """Let every primary that was left be adopted again: the failover that deposed it was given up."""
        self.former = ()
