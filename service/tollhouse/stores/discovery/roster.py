"""Which Sentinels to listen to: those that the URL names, and those that they tell of. A pure decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tollhouse.stores.urls import Host

DISCOVERED_MAX: Final = 32
"""How many Sentinels beyond those of the URL are listened to."""


class SentinelPeer(Struct, frozen=True, kw_only=True):
    """A Sentinel as another one tells of it; `id` stays when its address changes."""

    id: str
    host: Host
    down: bool


def members(
    configured: tuple[Host, ...],
    before: tuple[Host, ...],
    met: Mapping[Host, str],
    told: Sequence[Sequence[SentinelPeer]],
) -> tuple[Host, ...]:
    """Give the hosts to be connected to: every configured one, always, and then the learned ones.

    `met` are the ids of the Sentinels that are connected now, `told` what those that answered tell of the
    others. A Sentinel that is connected under a configured name is not learned a second time under its address,
    and where nobody answers nothing is forgotten.
    """
    fixed = tuple(dict.fromkeys(configured))
    if not told:
        return tuple(dict.fromkeys((*fixed, *before)))
    here = {met[host] for host in fixed if host in met}
    alive = {peer.host: peer.id for peers in told for peer in peers if not peer.down} | dict(met)
    learned = [host for host in dict.fromkeys((*before, *alive)) if host in alive and alive[host] not in here]
    return (*fixed, *[host for host in learned if host not in fixed][:DISCOVERED_MAX])
