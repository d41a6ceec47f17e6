"""Which address the Sentinels mean: the majority's, then that of the highest epoch. Pure decisions.

Sentinels disagree for about a second in every failover: the one that leads it knows the new primary
before the others do, and names it with a higher configuration epoch. An address is therefore only a
candidate, and what a candidate says of its own role decides. A primary that was left is barred for a
while: until Sentinel has made a replica of it, it still says that it is a primary, and the Sentinels
that were not told yet still name it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from tollhouse.stores.urls import Host


class Vote(Struct, frozen=True, kw_only=True):
    """The primary that one Sentinel names, and the epoch in which it became one."""

    sentinel: str
    address: Host
    epoch: int


class FormerPrimary(Struct, frozen=True, kw_only=True):
    """A primary that was left, under all names it had, and the epoch in which that happened."""

    aliases: frozenset[Host]
    epoch: int
    until_s: float


def majority(votes: Sequence[Vote], known: int) -> Host | None:
    """Give the address that more than half of all known Sentinels name."""
    for address, count in Counter(vote.address for vote in votes).most_common(1):
        if count * 2 > known:
            return address
    return None


def rank(votes: Sequence[Vote], known: int) -> tuple[Host, ...]:
    """Rank the addresses worth asking: the majority's, then those of later epochs; never an older one."""
    if not votes:
        return ()
    support = Counter(vote.address for vote in votes)
    epochs = {address: _epoch(votes, address) for address in support}
    chosen = majority(votes, known)
    floor = max(epochs.values()) - 1 if chosen is None else epochs[chosen]
    later = [address for address in support if epochs[address] > floor]
    later.sort(key=lambda address: (-epochs[address], -support[address], address))
    return tuple(later) if chosen is None else (chosen, *later)


def is_quarantined(
    address: Host, votes: Sequence[Vote], known: int, former: Sequence[FormerPrimary], now_s: float
) -> bool:
    """Tell whether an address was left too recently, and no majority has named it in a later epoch."""
    again = majority(votes, known) == address
    return any(
        address in left.aliases and now_s < left.until_s and not (again and _epoch(votes, address) > left.epoch)
        for left in former
    )


def candidates(
    votes: Sequence[Vote],
    known: int,
    *,
    hint: Host | None,
    current: Host | None,
    epoch: int,
    former: Sequence[FormerPrimary],
    now_s: float,
) -> tuple[Host, ...]:
    """Give the addresses to ask for their role, in order; the first that is a primary is the primary.

    The present primary, which stands in `epoch`, is a candidate unless another is named in a later one: then
    it was replaced, whatever it says itself. A barred address comes last: it is right only if the present
    primary is one no more.
    """
    ranking = rank(votes, known)
    held = [address for address in ranking if is_quarantined(address, votes, known, former, now_s)]
    free = [address for address in ranking if address not in held]
    replaced = any(_epoch(votes, address) > epoch for address in free)
    kept = [] if current is None or replaced else [current]
    hinted = [] if hint is None else [hint]
    return tuple(dict.fromkeys([*hinted, *free, *kept, *held]))


def _epoch(votes: Sequence[Vote], address: Host) -> int:
    return max(vote.epoch for vote in votes if vote.address == address)
