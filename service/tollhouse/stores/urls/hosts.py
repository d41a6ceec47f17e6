"""Hosts and ports, as users write them and as servers send them."""

from __future__ import annotations

import re
from typing import Final

Host = tuple[str, int]
"""A host name or IP address, and a port."""

_HOST_MAX: Final = 253
_HOST: Final = re.compile(r"(?:[\w%:-]{1,63}\.){0,126}[\w%:-]{1,63}\.?", re.ASCII)


def read_host(name: str, port: str) -> Host | None:
    """Return a host and port that a server sent; None if no client could connect to them."""
    if len(name) > _HOST_MAX or not _HOST.fullmatch(name):
        return None
    return (name, int(port)) if is_port(port) else None


def parse_host_port(text: str) -> Host | None:
    """Read `host:port`. The port follows the last colon, because IPv6 addresses have others."""
    name, _, port = text.rpartition(":")
    return read_host(name.removeprefix("[").removesuffix("]"), port)


def format_host(host: Host) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def is_port(text: str) -> bool:
    """Return whether a text is the number of a port."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536
