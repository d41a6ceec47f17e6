"""What Sentinels announce, and what each announcement means to a client. Pure decisions.

The format is `<kind> <name> <ip> <port> [@ <service> <ip> <port>] [more]`; `+switch-master` has one of its own.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tollhouse.stores.urls import Host, read_host

_PROMOTION: Final = ("+selected-slave", "+failover-state-wait-promotion", "+promoted-slave")
_ABORTED: Final = ("-failover-abort-slave-timeout", "-failover-abort-master-timeout")
"""A replica had been selected, and the Sentinel that led the failover gave it up."""

CHANNELS: Final = (
    "+switch-master",
    *_PROMOTION,
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
"""The channels that a client subscribes to at each Sentinel."""
TEXT_MAX: Final = 1024
"""Longer messages are ignored; those of Sentinel have about 200 characters."""


class Promotion(Struct, frozen=True, kw_only=True):
    """A replica was selected to replace the primary, or has replaced it already."""

    new_primary: Host
    old_primary: Host


class FailoverAborted(Struct, frozen=True, kw_only=True):
    """A failover was aborted after its replica had been selected: the old primary stays."""


class TopologyChange(Struct, frozen=True, kw_only=True):
    """Any other change: a reason for a new round."""

    channel: str


SentinelEvent = Promotion | FailoverAborted | TopologyChange


def read_event(channel: str, text: str, service: str) -> SentinelEvent | None:
    """Read one message; None if it concerns another service or is malformed."""
    if len(text) > TEXT_MAX:
        return None
    match text.split():
        case [name, old, old_port, new, new_port] if channel == "+switch-master" and name == service:
            return _promotion(new, new_port, old, old_port)
        case [_, _, host, port, "@", name, old, old_port, *_] if name == service:
            return _promotion(host, port, old, old_port) if channel in _PROMOTION else TopologyChange(channel=channel)
        case ["master", name, *_] if name == service:
            return FailoverAborted() if channel in _ABORTED else TopologyChange(channel=channel)
        case _:
            return None


def _promotion(new: str, new_port: str, old: str, old_port: str) -> Promotion | None:
    new_primary, old_primary = read_host(new, new_port), read_host(old, old_port)
    if new_primary is None or old_primary is None:
        return None
    return Promotion(new_primary=new_primary, old_primary=old_primary)
