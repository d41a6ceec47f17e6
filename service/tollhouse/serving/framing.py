"""Framing: the request heads that are served, so that every server on the way finds the end of each body at one place.

The parser refuses what is malformed, a second Content-Length, and Content-Length beside Transfer-Encoding. What it is
lenient about, and RFC 9112 is not, is refused here: two servers that read a head differently can be made to take a part
of one client's body for the next client's request.

**An offer to upgrade.** After a head with `Upgrade` and `Connection: upgrade` the parser takes the message for
complete and every byte that follows for another protocol, which uvicorn feeds to it as the next request. RFC 9110 7.8
lets a server ignore the offer, not the body. So such a head starts no request: it is given to a fresh parser without
its `Upgrade` field, followed by the bytes behind it. One parser frames every body, by the fields that its client
sent, and no byte of a body can begin a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tollhouse.serving.refusal import Refusal, malformed, not_implemented

_READ: Final = frozenset({b"host", b"transfer-encoding"})
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)
"""`uri-host [ ":" port ]` of RFC 9110; empty if the target has no authority."""
_PLAIN_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]-]*")
_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_HOSTS_KEPT: Final = 64
_VERSIONS: Final = ("1.1", "1.0")


def is_plain(target: bytes, fields: Mapping[bytes, bytes]) -> bool:
    """Return True if `head_refusal` has nothing to say of a request of HTTP/1.1 with these, as of nearly all.

    The fields are headers of which no two have one name. Names are in lower case here and below. The host is a name or
    an address, without the signs that a host may have and none has.
    """
    has_path = target[:1] == b"/" and b"#" not in target
    return has_path and b"transfer-encoding" not in fields and _is_plain_host(fields.get(b"host"))


def version_of(parser: HttpRequestParser, fields: Mapping[bytes, bytes]) -> str:
    """Return the version of a request with these fields; the parser takes ten times as long to write it.

    If no field asks for it, the parser keeps a connection alive in HTTP/1.1 alone.
    """
    is_asked = b"connection" in fields or b"proxy-connection" in fields
    return parser.get_http_version() if is_asked or not parser.should_keep_alive() else _VERSIONS[0]


def head_refusal(method: bytes, target: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
    """Return why a request with this head is not served; None if it is."""
    refusal = version_refusal(version)
    if refusal is not None:
        return refusal
    if method == b"CONNECT":
        return not_implemented("CONNECT is not served; this is no proxy")
    if b"#" in target:
        return malformed("the target has a fragment, which clients keep to themselves")
    read = [header for header in headers if header[0] in _READ]
    hosts = [value for name, value in read if name == b"host"]
    codings = [value for name, value in read if name == b"transfer-encoding"]
    return _host_refusal(hosts, target, version) or _coding_refusal(codings, version)


def version_refusal(version: str) -> Refusal | None:
    """Return why a version of HTTP is not served; None if it is."""
    if version in _VERSIONS:
        return None
    return Refusal(
        status=505,
        kind="version-not-supported",
        title="HTTP Version Not Supported",
        detail=f"HTTP/{version} is not served; send HTTP/1.1",
    )


def ignore_offer(protocol: HttpToolsProtocol, unread: memoryview | None) -> None:
    """Read the head again without its offer to upgrade, and then what follows it, which may have offers too."""
    while unread is not None:
        parser = cast("HttpRequestParser", protocol.parser)
        head = _without_offer(parser.get_method(), protocol.url, protocol.headers, parser.get_http_version())
        parser = protocol.parser = HttpRequestParser(protocol)
        # As uvicorn: what follows a request with `Connection: close` is no error, and is not read.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        parser.feed_data(head)
        try:
            parser.feed_data(unread)
            unread = None
        except HttpParserUpgrade as offer:
            unread = unread[offer.args[0] :]


def _host_refusal(hosts: Sequence[bytes], target: bytes, version: str) -> Refusal | None:
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return malformed(f"a request has one Host header, not {len(hosts)}")
    if hosts and not _is_host(hosts[0]):
        return malformed("the Host header is no host with an optional port")
    absolute = _ABSOLUTE.match(target)
    if hosts and absolute is not None and absolute[1].lower() != hosts[0].lower():
        return malformed("the request is for another host than its Host header")
    return None


def _coding_refusal(codings: Sequence[bytes], version: str) -> Refusal | None:
    if not codings:
        return None
    if version == "1.0":
        return malformed("HTTP/1.0 has no Transfer-Encoding; send Content-Length or HTTP/1.1")
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return None
    return not_implemented("the only Transfer-Encoding that is read is chunked, alone")


@lru_cache(maxsize=_HOSTS_KEPT)
def _is_plain_host(value: bytes | None) -> bool:
    """Return True if it is one; a service has few names, so most answers are remembered."""
    return value is not None and _PLAIN_HOST.fullmatch(value) is not None and _is_host(value)


def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _without_offer(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]], version: str) -> bytes:
    """Return the head of a request as its client would send it without the offer.

    Everything that frames the body, and that keeps or closes the connection, stays as it was.
    """
    lines = [b"%s: %s\r\n" % (name, value) for name, value in headers if name != b"upgrade"]
    return b"%s %s HTTP/%s\r\n%s\r\n" % (method, target, version.encode(), b"".join(lines))
