"""Succession: which servers could replace the primary, and whether a write has reached all of them. Pure decisions.

Sentinel promotes by priority before offset, and `WAIT` counts any replica. So a write is judged by what each replica
has acknowledged, once for each Sentinel: any of them may lead the next failover, and each has a list of its own.

| a server on the list of a Sentinel                   | to Sentinel                  | a write that it lacks |
|------------------------------------------------------|------------------------------|-----------------------|
| priority 0, or down                                  | no candidate                 | may be durable        |
| `unsettled`: disconnected, or not examined yet       | no candidate yet             | the same, (1)         |
| `deposed`: a primary still, and no offset of it known| last of those of its priority| the same, (2)         |
| any other                                            | a candidate                  | is not durable        |

(1) Unless the server is attached to the primary. (2) If a candidate that goes before it has the write, and the write
ends behind everything that the former primary wrote: as soon as Sentinel has made a replica of it, and before it has
followed, its own offset counts, although it counts something else. After a restart of the new primary it is larger.
A server that is attached to the primary and on no list is about to be listed: a write that it lacks is not durable.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct, structs

from tollhouse.stores.urls import Host

State = Literal["up", "unsettled", "down"]
_NEVER = sys.maxsize
"""The rank of a server that is not promoted."""


class ListedReplica(Struct, frozen=True, kw_only=True):
    """A replica as one Sentinel lists it, or as a list of servers names it; `aliases` are its addresses."""

    aliases: frozenset[Host]
    priority: int
    state: State
    deposed: bool = False
    written: int | None = None
    """The offset at which a deposed server ends, by its own count; None if it has not said so."""


class AttachedReplica(Struct, frozen=True, kw_only=True):
    """A replica that the primary sends its writes to, and the offset that it has acknowledged."""

    host: Host
    offset: int


Lists = tuple[tuple[ListedReplica, ...], ...]
"""The replicas as each Sentinel lists them."""


def deposed_hosts(lists: Lists) -> list[Host]:
    """Return the addresses of the former primaries that do not follow yet."""
    return sorted({host for each in lists for one in each if one.deposed for host in one.aliases})


def with_offsets(lists: Lists, written: Mapping[Host, int]) -> Lists:
    """Return the lists with what former primaries said of their offsets."""
    return tuple(tuple(_with_offset(one, written) if one.deposed else one for one in each) for each in lists)


class Successors(Struct, frozen=True, kw_only=True):
    """The servers that could replace the primary: one tuple for each Sentinel, without repetitions.

    `optional` may lag although they are attached; whether servers that are not `listed` may, `strangers_matter` says.
    `known` counts all replicas that exist, `promotable` those that are up, follow, and have a priority above 0.
    """

    candidates: tuple[tuple[ListedReplica, ...], ...]
    listed: frozenset[Host]
    optional: frozenset[Host]
    strangers_matter: bool
    known: int
    promotable: int

    @property
    def wanted(self) -> int:
        """The number of replicas that at least have to acknowledge a write."""
        return max([1, *(sum(not one.deposed for one in each) for each in self.candidates)])


class Succession:
    """Computes the successors of one service, and computes them again only when what they follow from has changed."""

    def __init__(self, *, strangers_matter: bool) -> None:
        self._strangers_matter = strangers_matter
        self._lists: Lists = ()
        self._primary: frozenset[Host] = frozenset()
        self._views: dict[bool, Successors] = {}

    def view(self, lists: Lists, primary: frozenset[Host], *, believed: bool) -> Successors:
        """Return what `successors` does."""
        if lists is not self._lists or primary is not self._primary:
            self._lists, self._primary, self._views = lists, primary, {}
        view = self._views.get(believed)
        if view is None:
            view = successors(lists, primary, believed=believed, strangers_matter=self._strangers_matter)
            self._views[believed] = view
        return view


def successors(lists: Lists, primary: frozenset[Host], *, believed: bool, strangers_matter: bool = True) -> Successors:
    """Return the servers that could replace `primary`, by one list for each Sentinel.

    Unless the states are `believed`, each may have changed since: then only a priority of 0 excludes a server.
    """
    others = [[one for one in each if one.aliases.isdisjoint(primary)] for each in lists]
    listed = [one for each in others for one in each]
    matter = [one for one in listed if one.priority and not (believed and one.state == "down")]
    candidates = (tuple(_candidates(each, believed=believed)) for each in others)
    return Successors(
        candidates=tuple(dict.fromkeys(candidates)),
        listed=_addresses(listed),
        optional=_addresses(listed) - _addresses(matter),
        strangers_matter=strangers_matter,
        known=len({one.aliases for one in listed}),
        promotable=len({one.aliases for one in listed if one.aliases and _follows(one)}),
    )


def is_durable(view: Successors, attached: Sequence[AttachedReplica], offset: int) -> bool:
    """Return whether a write that ends at `offset` has reached each server that could be promoted, at least one."""
    lagging = {one.host for one in attached if one.offset < offset}
    # Two replicas behind one address cannot be told apart: both have to acknowledge.
    holders = {one.host for one in attached} - lagging
    matter = lagging - view.optional if view.strangers_matter else (lagging & view.listed) - view.optional
    some = any(not one.aliases.isdisjoint(holders) for each in view.candidates for one in each)
    return some and not matter and all(_is_held(each, holders, offset) for each in view.candidates)


def _candidates(listed: Sequence[ListedReplica], *, believed: bool) -> list[ListedReplica]:
    if believed:
        return [one for one in listed if one.priority and one.state == "up"]
    plain = (ListedReplica(aliases=one.aliases, priority=one.priority, state="up") for one in listed)
    return [one for one in plain if one.priority]


def _follows(one: ListedReplica) -> bool:
    return one.priority > 0 and one.state == "up" and not one.deposed


def _is_held(candidates: Sequence[ListedReplica], holders: Collection[Host], offset: int) -> bool:
    """Return whether one Sentinel would promote a holder, whichever of its candidates are left."""
    lacking = [one for one in candidates if one.aliases.isdisjoint(holders)]
    heirs = [one for one in candidates if one not in lacking and not one.deposed]
    first = min((one.priority for one in heirs), default=_NEVER)
    return all(one.deposed and _goes_last(one, first, offset) for one in lacking)


def _goes_last(former: ListedReplica, first: int, offset: int) -> bool:
    """Return whether Sentinel promotes a replica of priority `first` that has everything up to `offset` instead."""
    behind = former.written is not None and former.written < offset
    return first < former.priority or (first == former.priority and behind)


def _with_offset(one: ListedReplica, written: Mapping[Host, int]) -> ListedReplica:
    return structs.replace(one, written=max((written[host] for host in one.aliases & written.keys()), default=None))


def _addresses(replicas: Sequence[ListedReplica]) -> frozenset[Host]:
    return frozenset(host for one in replicas for host in one.aliases)
