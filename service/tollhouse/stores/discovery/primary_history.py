"""The primaries of one service: the present one, its generation, and the former ones in quarantine. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.discovery.quorum import FormerPrimary, Vote, candidates
from tollhouse.stores.discovery.role_probe import VerifiedPrimary
from tollhouse.stores.urls import Host, Replicated, TcpAddress, address_of

AdoptionReason = Literal["first", "named", "followed", "promoted", "redirected"]
"""The first one · named by Sentinels · followed by another server · seen being promoted · named by a redirection."""

_FORMER_MAX: Final = 8


class Generation(Struct, frozen=True, kw_only=True):
    """A primary, for as long as it was the primary; numbers only grow. `at_s` is on the resolver's clock."""

    number: int
    address: TcpAddress
    why: AdoptionReason
    at_s: float
    epoch: int


class FailoverPause(Struct, frozen=True, kw_only=True):
    """A failover is under way: calls should wait up to `wait_s` for the next generation. 0 ends the pause."""

    wait_s: float


PrimaryEvent = Generation | FailoverPause
"""What subscribers of a resolver receive."""


def adoption_reason(found: VerifiedPrimary, hint: Host | None) -> AdoptionReason:
    """Return how a primary was found: by redirection to `hint`, by its own name, or by following a replica."""
    if hint is not None and found.start == hint:
        return "redirected"
    return "named" if found.host == found.start else "followed"


class PrimaryHistory:
    """The present generation, and the memory that keeps clients from returning to a former primary by mistake."""

    def __init__(self, target: Replicated, quarantine_s: float) -> None:
        self.current: Generation | None = None
        self.aliases: frozenset[Host] = frozenset()
        self.former: tuple[FormerPrimary, ...] = ()
        self.epoch = 0
        self._target = target
        self._quarantine_s = quarantine_s
        self._peer: Host | None = None

    @property
    def host(self) -> Host | None:
        """The host and port of the present primary; None before the first."""
        return None if self.current is None else (self.current.address.host, self.current.address.port)

    def candidates(self, votes: Sequence[Vote], known: int, hint: Host | None, now_s: float) -> tuple[Host, ...]:
        """Return the addresses to ask for their role, in order."""
        return candidates(votes, known, hint=hint, current=self.host, epoch=self.epoch, former=self.former, now_s=now_s)

    def confirm(self, votes: Sequence[Vote]) -> None:
        """Record the latest epoch in which Sentinels name the present primary."""
        self.epoch = max((vote.epoch for vote in votes if vote.address in self.aliases), default=self.epoch)

    def adopt(
        self, found: VerifiedPrimary, why: AdoptionReason, votes: Sequence[Vote], now_s: float
    ) -> Generation | None:
        """Begin a generation with a verified primary; None if it is the present one, perhaps under another name."""
        if self.host is not None and (found.peer == self._peer or found.host == self.host):
            self.aliases, self._peer = frozenset({self.host, found.host, found.peer}), found.peer
            return None
        self.epoch = max((vote.epoch for vote in votes if vote.address == found.host), default=self.epoch)
        replaced = FormerPrimary(aliases=self.aliases, epoch=self.epoch, until_s=now_s + self._quarantine_s)
        aliases = frozenset({found.host, found.peer})
        former = [old for old in (*self.former, replaced) if old.until_s > now_s and not old.aliases & aliases]
        self.former = tuple(former[-_FORMER_MAX:])
        self.aliases, self._peer = aliases, found.peer
        self.current = Generation(
            number=1 if self.current is None else self.current.number + 1,
            address=address_of(self._target, found.host),
            why="first" if self.current is None else why,
            at_s=now_s,
            epoch=self.epoch,
        )
        return self.current

    def clear_quarantine(self) -> None:
        """Allow every former primary to be adopted again: the failover that replaced it was aborted."""
        self.former = ()
