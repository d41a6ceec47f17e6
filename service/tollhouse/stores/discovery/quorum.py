"""Which address to ask for its role, and which Sentinels to poll. Pure decisions over the votes of Sentinels.

Sentinels disagree for about a second in every failover: the one that leads it knows the new primary before the
others do, and names it with a higher configuration epoch. So an address that they name is only a candidate; the
role that its server reports decides. A former primary is quarantined for a while: until Sentinel has made a replica
of it, it still reports the primary role, and Sentinels that have not heard of the failover still name it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tollhouse.stores.urls import Host

DISCOVERED_MAX: Final = 32
"""How many Sentinels beyond those of the URL are polled."""


class PrimaryName(Struct, frozen=True, kw_only=True):
    """A name of a primary that no other one has, nor the same server after a restart or another failover.

    Its server confirmed it at `seen_s` on the loop's clock, or later.
    """

    text: str
    seen_s: float


class Vote(Struct, frozen=True, kw_only=True):
    """The primary that one Sentinel names, and the configuration epoch in which it became one."""

    sentinel: str
    address: Host
    epoch: int
    name: PrimaryName | None = None


class FormerPrimary(Struct, frozen=True, kw_only=True):
    """A primary that was replaced: all its addresses, the epoch of the replacement, and the end of its quarantine."""

    aliases: frozenset[Host]
    epoch: int
    until_s: float


class SentinelPeer(Struct, frozen=True, kw_only=True):
    """A Sentinel as another one describes it; `id` stays when its address changes."""

    id: str
    host: Host
    down: bool


def majority(votes: Sequence[Vote], known: int) -> Host | None:
    """Return the address that more than half of all `known` Sentinels name; None if there is none."""
    for address, count in Counter(vote.address for vote in votes).most_common(1):
        if count * 2 > known:
            return address
    return None


def rank(votes: Sequence[Vote], known: int) -> tuple[Host, ...]:
    """Return the addresses worth asking: the majority's, then those of later epochs, never one of an older epoch."""
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
    """Return True if the address was replaced too recently and no majority has named it in a later epoch."""
    again = majority(votes, known) == address
    return any(
        address in one.aliases and now_s < one.until_s and not (again and _epoch(votes, address) > one.epoch)
        for one in former
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
    """Return the addresses to ask for their role, in order; the first that is a primary is the primary.

    1. `hint`: the server to which a failed call was redirected.
    2. The addresses that the Sentinels name and that are not quarantined, in the order of `rank`.
    3. `current`, the present primary since `epoch`, unless one of (2) is named in a later epoch: then it was
       replaced, whatever it reports itself.
    4. The quarantined addresses: right only if the present primary is a primary no more.
    """
    ranking = rank(votes, known)
    quarantined = [address for address in ranking if is_quarantined(address, votes, known, former, now_s)]
    free = [address for address in ranking if address not in quarantined]
    replaced = any(_epoch(votes, address) > epoch for address in free)
    present = [] if current is None or replaced else [current]
    redirected = [] if hint is None else [hint]
    return tuple(dict.fromkeys([*redirected, *free, *present, *quarantined]))


def latest_name(votes: Sequence[Vote], aliases: frozenset[Host]) -> PrimaryName | None:
    """Return the name of a primary in the last epoch that a Sentinel knows, the last one seen; None if it has none yet.

    A name of an earlier epoch may be that of an earlier time as primary.
    """
    epoch = max((vote.epoch for vote in votes), default=0)
    names = [vote.name for vote in votes if vote.name and vote.epoch == epoch and vote.address in aliases]
    return max(names, key=lambda name: name.seen_s, default=None)


def members(
    configured: tuple[Host, ...],
    polled: tuple[Host, ...],
    connected: Mapping[Host, str],
    peers: Sequence[Sequence[SentinelPeer]],
) -> tuple[Host, ...]:
    """Return the Sentinels to poll: every configured one, always, then those that were discovered.

    `polled` are those polled until now, `connected` the ids of those with a connection, `peers` what each Sentinel
    that replied says of the others. A Sentinel that is connected under its configured name is not discovered a second
    time under its address. If no Sentinel replied, none is dropped.
    """
    fixed = tuple(dict.fromkeys(configured))
    if not peers:
        return tuple(dict.fromkeys((*fixed, *polled)))
    fixed_ids = {connected[host] for host in fixed if host in connected}
    alive = {peer.host: peer.id for group in peers for peer in group if not peer.down} | dict(connected)
    discovered = [host for host in dict.fromkeys((*polled, *alive)) if host in alive and alive[host] not in fixed_ids]
    return (*fixed, *[host for host in discovered if host not in fixed][:DISCOVERED_MAX])


def _epoch(votes: Sequence[Vote], address: Host) -> int:
    return max(vote.epoch for vote in votes if vote.address == address)
