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


class Promoting(Struct, frozen=True, kw_only=True):
    """The server at `address` is about to be the primary, or is one already, instead of another."""

    address: Host
    instead_of: Host


class Aborted(Struct, frozen=True, kw_only=True):
    """A failover was given up after a replica had been told to take over: the old primary stays."""


class Stirred(Struct, frozen=True, kw_only=True):
    """Something changed that asks for a new look."""

    channel: str


Announcement = Promoting | Aborted | Stirred


def read(channel: str, text: str, service: str) -> Announcement | None:
    """Read one message; None where it is of another service, or no Sentinel wrote it."""
    if len(text) > TEXT_MAX:
        return None
    match text.split():
        case [name, old, old_port, new, new_port] if channel == "+switch-master" and name == service:
            return _promoting(new, new_port, old, old_port)
        case [_, _, host, port, "@", name, old, old_port, *_] if name == service:
            return _promoting(host, port, old, old_port) if channel in _PROMOTING else Stirred(channel=channel)
        case ["master", name, *_] if name == service:
            return Aborted() if channel in _ABORTED else Stirred(channel=channel)
        case _:
            return None


def _promoting(host: str, port: str, old: str, old_port: str) -> Promoting | None:
    address, instead_of = read_host(host, port), read_host(old, old_port)
    if address is None or instead_of is None:
        return None
    return Promoting(address=address, instead_of=instead_of)
