"""What a Sentinel's replies mean: its vote, the replicas and other Sentinels that it knows, or why it gives none."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from tollhouse.stores.addresses import format_host, read_host
from tollhouse.stores.discovery.quorum import Vote
from tollhouse.stores.discovery.roster import SentinelPeer
from tollhouse.stores.transport.connection import encode
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host

ENTRIES_MAX: Final = 64
"""Replicas, and other Sentinels, that are read of one answer."""
_DOWN: Final = frozenset({"s_down", "o_down"})
_LOGIN: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})


class SentinelReply(Struct, frozen=True, kw_only=True):
    """What one Sentinel says of the service: who is the primary, and who could become one."""

    vote: Vote
    quorum: int
    sentinels: int
    promotable: tuple[Host, ...]
    peers: tuple[SentinelPeer, ...]


class Unavailable(Struct, frozen=True, kw_only=True):
    """Why a Sentinel says nothing; `lasting` where asking again is of no use until somebody mends it."""

    reason: str
    permanent: bool = False


class _Watched(Struct, rename="kebab", frozen=True, kw_only=True):
    config_epoch: int
    quorum: int
    num_other_sentinels: int


class _Replica(Struct, rename="kebab", frozen=True, kw_only=True):
    ip: str
    port: str
    flags: str
    slave_priority: int = 100


class _Peer(Struct, frozen=True, kw_only=True):
    ip: str
    port: str
    flags: str
    runid: str


def poll_commands(service: str) -> tuple[bytes, ...]:
    """Give the commands whose replies `read_answer` takes, in its order."""
    return (
        encode("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
        encode("SENTINEL", "MASTER", service),
        encode("SENTINEL", "REPLICAS", service),
        encode("SENTINEL", "SENTINELS", service),
    )


def read_replies(host: Host, sentinel: str, service: str, replies: list[Any]) -> SentinelReply | Unavailable:
    """Read the replies of the Sentinel at `host`, whose id is `sentinel`."""
    named, watched, replicas, peers = (_text(reply) for reply in replies)
    if named is None:
        return unknown_service(host, service)
    try:
        address = read_host(*msgspec.convert(named, tuple[str, str]))
        facts = msgspec.convert(_facts(watched), _Watched, strict=False)
        others = [msgspec.convert(_facts(entry), _Peer, strict=False) for entry in peers[:ENTRIES_MAX]]
        found = [msgspec.convert(_facts(entry), _Replica, strict=False) for entry in replicas[:ENTRIES_MAX]]
    except (msgspec.ValidationError, TypeError) as error:
        return Unavailable(reason=f"{format_host(host)} does not answer as a Sentinel does: {error}")
    if address is None:
        return Unavailable(reason=f"{format_host(host)} names a primary that has no address: {named}")
    return SentinelReply(
        vote=Vote(sentinel=sentinel, address=address, epoch=facts.config_epoch),
        quorum=facts.quorum,
        sentinels=facts.num_other_sentinels + 1,
        promotable=tuple(place for entry in found if (place := _promotable(entry)) is not None),
        peers=tuple(peer for entry in others if (peer := _peer(entry)) is not None),
    )


def read_refusal(host: Host, service: str, error: ServerError) -> Unavailable:
    """Say why a Sentinel refused, and what mends it."""
    place, text = format_host(host), str(error)
    if error.code == "IDONTKNOW" or "No such master" in text or "No such primary" in text:
        return unknown_service(host, service)
    if error.code in _LOGIN:
        remedy = "set sentinel_user and sentinel_password in the URL, and allow them hello, subscribe and sentinel"
        return Unavailable(reason=f"Sentinel {place} refused the login: {text}; {remedy}", permanent=True)
    if text.startswith("ERR unknown command"):
        remedy = "name the Sentinels in the URL, not the servers; their port is 26379 unless changed"
        return Unavailable(reason=f"{place} is no Sentinel; {remedy}", permanent=True)
    return Unavailable(reason=f"Sentinel {place} refused: {text}")


def unknown_service(host: Host, service: str) -> Unavailable:
    """Say that a Sentinel does not watch the service."""
    remedy = "SENTINEL MASTERS lists those that it watches; put one of them into the URL"
    return Unavailable(reason=f"Sentinel {format_host(host)} knows no service {service!r}; {remedy}", permanent=True)


def _promotable(entry: _Replica) -> Host | None:
    """Give the address of a replica that Sentinel could promote, as it decides that."""
    if entry.slave_priority <= 0 or _DOWN & set(entry.flags.split(",")):
        return None
    return read_host(entry.ip, entry.port)


def _peer(entry: _Peer) -> SentinelPeer | None:
    host = read_host(entry.ip, entry.port)
    if host is None:
        return None
    return SentinelPeer(id=entry.runid, host=host, down=bool(_DOWN & set(entry.flags.split(","))))


def _facts(reply: Any) -> dict[Any, Any]:
    """Read a map, which older servers send as a flat array."""
    if isinstance(reply, list):
        flat = cast("list[Any]", reply)
        return dict(zip(flat[::2], flat[1::2], strict=False))
    return reply


def _text(reply: Any) -> Any:
    """Replace bytes by text, at every depth."""
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    if isinstance(reply, list):
        return [_text(item) for item in cast("list[Any]", reply)]
    if isinstance(reply, dict):
        return {_text(name): _text(value) for name, value in cast("dict[Any, Any]", reply).items()}
    return reply
