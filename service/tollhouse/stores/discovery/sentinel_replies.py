"""Reads what one Sentinel replies: its vote, the replicas and Sentinels that it knows, or why it has no answer."""

from __future__ import annotations

import hashlib
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Struct

from tollhouse.stores.discovery.quorum import PrimaryName, SentinelPeer, Vote
from tollhouse.stores.discovery.unavailable import Unavailable, explain
from tollhouse.stores.succession import ListedReplica, State
from tollhouse.stores.transport.connection import encode
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host, format_host, read_host

ENTRIES_MAX: Final = 64
"""How many replicas, and other Sentinels, are read from one reply."""
_DOWN: Final = frozenset({"s_down", "o_down"})


class SentinelReply(Struct, frozen=True, kw_only=True):
    """What one Sentinel says of the service: its primary, the replicas that it lists, and its peers."""

    vote: Vote
    quorum: int
    sentinels: int
    replicas: tuple[ListedReplica, ...]
    peers: tuple[SentinelPeer, ...]


class _PrimaryEntry(Struct, rename="kebab", frozen=True, kw_only=True):
    config_epoch: int
    quorum: int
    num_other_sentinels: int
    runid: str = ""
    info_refresh: int = 0


class _ReplicaEntry(Struct, rename="kebab", frozen=True, kw_only=True):
    ip: str
    port: str
    flags: str
    runid: str = "unknown"
    role_reported: str = "slave"
    slave_priority: int = 100
    slave_repl_offset: int = 1


class _PeerEntry(Struct, frozen=True, kw_only=True):
    ip: str
    port: str
    flags: str
    runid: str


_Entry = TypeVar("_Entry", _PrimaryEntry, _ReplicaEntry, _PeerEntry)
_WIRE_NAMES: Final = {
    kind: tuple((name, name.encode()) for name in kind.__struct_encode_fields__)
    for kind in (_PrimaryEntry, _ReplicaEntry, _PeerEntry)
}


def poll_commands(service: str) -> tuple[bytes, ...]:
    """Return the commands whose replies `read_replies` takes, in its order."""
    kinds = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SENTINELS")
    return tuple(encode("SENTINEL", kind, service) for kind in kinds)


def read_replies(
    host: Host, sentinel: str, service: str, replies: list[Any], polled_s: float
) -> SentinelReply | Unavailable:
    """Read the replies of the Sentinel at `host`, whose id is `sentinel`, to a poll that began at `polled_s`."""
    named, primary, replicas, peers = replies
    if named is None:
        return unknown_service(host, service)
    try:
        named = decode(named)
        address = read_host(*msgspec.convert(named, tuple[str, str]))
        entry = _read(primary, _PrimaryEntry)
        peer_entries = [_read(one, _PeerEntry) for one in peers[:ENTRIES_MAX]]
        replica_entries = [_read(one, _ReplicaEntry) for one in replicas[:ENTRIES_MAX]]
    except (msgspec.ValidationError, TypeError) as error:
        return Unavailable(reason=f"{format_host(host)} does not reply as a Sentinel does: {error}")
    if address is None:
        return Unavailable(reason=f"Sentinel {format_host(host)} names a primary without a usable address: {named}")
    return SentinelReply(
        vote=Vote(sentinel=sentinel, address=address, epoch=entry.config_epoch, name=_name(entry, polled_s)),
        quorum=entry.quorum,
        sentinels=entry.num_other_sentinels + 1,
        replicas=tuple(map(_listed, replica_entries)),
        peers=tuple(peer for one in peer_entries if (peer := _peer(one)) is not None),
    )


def explain_silence(host: Host, service: str, error: Exception, timeout_s: float) -> Unavailable:
    """Return why the Sentinel at `host` gave no reply, and the remedy when its setup or the URL is wrong."""
    place, text = f"Sentinel {format_host(host)}", str(error)
    if isinstance(error, ServerError):
        if error.code == "IDONTKNOW" or "No such master" in text or "No such primary" in text:
            return unknown_service(host, service)
        if text.startswith("ERR unknown command"):
            remedy = "name the Sentinels in the URL, not the servers; their port is 26379 unless changed"
            return Unavailable(reason=f"{format_host(host)} is not a Sentinel; {remedy}", permanent=True)
    remedy = "set sentinel_user and sentinel_password in the URL, and allow them hello, subscribe and sentinel"
    return explain(place, error, timeout_s=timeout_s, login_remedy=remedy)


def unknown_service(host: Host, service: str) -> Unavailable:
    """Return that the Sentinel at `host` does not monitor the service."""
    remedy = "SENTINEL MASTERS lists those that it monitors; put one of them into the URL"
    return Unavailable(reason=f"Sentinel {format_host(host)} knows no service {service!r}; {remedy}", permanent=True)


def decode(reply: Any) -> Any:
    """Replace bytes by text, in a list too."""
    if isinstance(reply, list):
        return [decode(item) for item in cast("list[Any]", reply)]
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


def _name(entry: _PrimaryEntry, polled_s: float) -> PrimaryName | None:
    """Return the name of the primary; None before it has told the Sentinel who it is."""
    if not entry.runid:
        return None
    text = hashlib.blake2b(f"{entry.runid} {entry.config_epoch}".encode(), digest_size=8).hexdigest()
    return PrimaryName(text=text, seen_s=polled_s - max(entry.info_refresh, 0) / 1000)


def _listed(entry: _ReplicaEntry) -> ListedReplica:
    host = read_host(entry.ip, entry.port)
    return ListedReplica(
        aliases=frozenset() if host is None else frozenset({host}),  # without an address it is never a holder
        priority=entry.slave_priority,
        state=_state(entry),
        # It was replaced and does not follow yet. Sentinel knows no offset of it, and takes others before it.
        deposed=entry.role_reported == "master" and entry.slave_repl_offset == 0,
    )


def _state(entry: _ReplicaEntry) -> State:
    """Return what Sentinel's own rules say: one that it never examined has no run id, and is not promoted."""
    flags = set(entry.flags.split(","))
    if flags & _DOWN:
        return "down"
    return "unsettled" if "disconnected" in flags or not entry.runid else "up"


def _peer(entry: _PeerEntry) -> SentinelPeer | None:
    host = read_host(entry.ip, entry.port)
    if host is None:
        return None
    return SentinelPeer(id=entry.runid, host=host, down=bool(_DOWN & set(entry.flags.split(","))))


def _read(reply: Any, kind: type[_Entry]) -> _Entry:
    """Read what `kind` has of a map, which older servers send as a flat array; a map has some 40 fields."""
    if isinstance(reply, list):
        flat = cast("list[Any]", reply)
        reply = dict(zip(flat[::2], flat[1::2], strict=False))
    if not isinstance(reply, dict):
        raise TypeError(f"expected a map, got {type(reply).__name__}")
    fields = cast("dict[Any, Any]", reply)
    told = {name: decode(fields[wire]) for name, wire in _WIRE_NAMES[kind] if wire in fields}
    return msgspec.convert(told, kind, strict=False)
