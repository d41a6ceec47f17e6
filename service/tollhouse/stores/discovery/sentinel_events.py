"""What Sentinels announce, and what each announcement means to a client. Pure decisions.

The messages are for people too: `<kind> <name> <ip> <port> [@ <service> <ip> <port>] [more]`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tollhouse.stores.addresses import read_host
from tollhouse.stores.urls import Host

_PROMOTING: Final = ("+selected-slave", "+failover-state-wait-promotion", "+promoted-slave")
_ABORTED: Final = ("-failover-abort-slave-timeout", "-failover-abort-master-timeout")
"""A replica had been told to take over, and the Sentinel that led gave it up."""

CHANNELS: Final = (
    "+switch-master",
    *_PROMOTING,
    *_ABORTED,
    "-failover-abort-not-elected",
    "-failover-abort-no-good-slave",
    "+odown",
    "-odown",
    "+sdown",
    "-sdown",
    "+reboot",
    "+convert-to-slave",
    "+sentinel",
    "+slave",
)
"""What a client subscribes to at each Sentinel."""
TEXT_MAX: Final = 1024
"""Longer messages are not read; Sentinel's own have some 200 characters."""


class Promotion(Struct, frozen=True, kw_only=True):
    """The server at `address` is about to be the primary, or is one already, instead of another."""

    new_primary: Host
    old_primary: Host


class FailoverAborted(Struct, frozen=True, kw_only=True):
    """A failover was given up after a replica had been told to take over: the old primary stays."""


class TopologyChange(Struct, frozen=True, kw_only=True):
    """Something changed that asks for a new look."""

    channel: str


SentinelEvent = Promotion | FailoverAborted | TopologyChange


def read_event(channel: str, text: str, service: str) -> SentinelEvent | None:
    """Read one message; None where it is of another service, or no Sentinel wrote it."""
    if len(text) > TEXT_MAX:
        return None
    match text.split():
        case [name, old, old_port, new, new_port] if channel == "+switch-master" and name == service:
            return _promoting(new, new_port, old, old_port)
        case [_, _, host, port, "@", name, old, old_port, *_] if name == service:
            return _promoting(host, port, old, old_port) if channel in _PROMOTING else TopologyChange(channel=channel)
        case ["master", name, *_] if name == service:
            return FailoverAborted() if channel in _ABORTED else TopologyChange(channel=channel)
        case _:
            return None


def _promoting(host: str, port: str, old: str, old_port: str) -> Promotion | None:
    address, instead_of = read_host(host, port), read_host(old, old_port)
    if address is None or instead_of is None:
        return None
    return Promotion(new_primary=address, old_primary=instead_of)
