"""Addresses as servers tell them: read with suspicion, shown in one way."""

from __future__ import annotations

import re
from typing import Final

from tollhouse.stores.urls import Host

_HOST_MAX: Final = 253
_HOST: Final = re.compile(r"(?:[\w%:-]{1,63}\.){0,126}[\w%:-]{1,63}\.?", re.ASCII)


def read_host(name: str, port: str) -> Host | None:
    """Read a host name or address and a port; None for what nobody can connect to."""
    if len(name) > _HOST_MAX or not _HOST.fullmatch(name):
        return None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return None
    return name, int(port)


def parse_host_port(text: str) -> Host | None:
    """Read `host:port`; the last colon counts, since IPv6 addresses have others."""
    name, _, port = text.rpartition(":")
    return read_host(name.removeprefix("[").removesuffix("]"), port)


def format_host(host: Host) -> str:
    """Give `host:port` for people and logs."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
