"""Notices about forwarding fields that do not decide who the client is, although their sender may expect it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tollhouse.asgi.forwarding import FORWARDED, LISTED, Address, Headers, is_listed, vouched_for
from tollhouse.logs import Log
from tollhouse.settings.networks import Network

_READ: Final = frozenset({LISTED, FORWARDED})
FORWARDING_FIELDS: Final = _READ | {b"x-real-ip", b"cf-connecting-ip", b"true-client-ip"}
"""What proxies name the client in. Of one that is no list nothing shows who wrote it, so only `_READ` is believed."""

_log = Log("tollhouse.asgi")


class ForwardingNotices:
    """Logs each notice once: clients write these fields too, and must not fill a log."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def untrusted(self, peer: Address | None, headers: Headers, trusted: Sequence[Network]) -> None:
        """Warn of fields by a peer that is no trusted proxy, unless the server has read them and replaced the peer.

        If it has, warn if the trusted proxies name another client than the server does.
        """
        fields = _fields_in(headers)
        if not fields:
            return
        if peer is not None and LISTED in fields and is_listed(peer, headers):
            if trusted and vouched_for(headers, trusted) != peer:
                remedy = "run uvicorn with --no-proxy-headers, or name the same proxies in its --forwarded-allow-ips"
                self._warn("the server believes a hop that trusted_proxies does not", remedy=remedy)
            return
        address = "loopback" if peer is None else str(peer)
        trust = f"trusted_proxies=['{address}'], or TOLLHOUSE_TRUSTED_PROXIES={address} for settings that are read"
        sent = "" if fields & _READ else "have it send X-Forwarded-For and "
        remedy = f"clients behind it count as one; if it is your proxy, {sent}trust it: {trust}"
        self._warn("forwarding fields of a peer that is not trusted", peer=address, fields=fields, remedy=remedy)

    def unclear(self, peer: Address | None, headers: Headers) -> None:
        """Warn of fields by a trusted proxy that name no client, or two."""
        fields = _fields_in(headers)
        if fields:
            remedy = "clients behind it count as one; have it set X-Forwarded-For, and remove what clients send"
            address = "loopback" if peer is None else str(peer)
            self._warn("a trusted proxy names no client, or two", peer=address, fields=fields, remedy=remedy)

    def _warn(self, event: str, *, fields: frozenset[bytes] = frozenset(), **known: str) -> None:
        if event not in self._given:
            self._given.add(event)
            names = {"fields": ", ".join(sorted(name.decode() for name in fields))} if fields else {}
            _log.warning(event, extra={**names, **known})


PROCESS: Final = ForwardingNotices()
"""The notices of this process, whatever applications and edges it has."""


def _fields_in(headers: Headers) -> frozenset[bytes]:
    return FORWARDING_FIELDS.intersection(name.lower() for name, _ in headers)
