"""The version of a request, which its framing depends on."""

from __future__ import annotations

from itertools import product

import pytest
from httptools import HttpRequestParser

from tollhouse.serving.framing import version_of

FIELDS = [
    {},
    {b"connection": b"keep-alive"},
    {b"proxy-connection": b"keep-alive"},
    {b"connection": b"close"},
    {b"connection": b"te", b"te": b"trailers"},
    {b"keep-alive": b"timeout=5"},
]


class Head:
    """What the parser calls; it keeps the version that is found while the head is complete."""

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self.fields = fields
        self.parser = HttpRequestParser(self)
        self.versions: tuple[str, str] | None = None

    def on_headers_complete(self) -> None:
        self.versions = version_of(self.parser, self.fields), self.parser.get_http_version()


@pytest.mark.parametrize(
    ("version", "fields", "length"), [*product((b"0.9", b"1.0", b"1.1", b"2.0"), FIELDS, (None, b"0", b"2"))]
)
def test_the_version_is_that_of_the_parser(version: bytes, fields: dict[bytes, bytes], length: bytes | None) -> None:
    """Whatever a client asks of its connection, the version is the one that it has sent."""
    sent = fields if length is None else {**fields, b"content-length": length}
    head = Head(sent)
    lines = b"".join(b"%s: %s\r\n" % field for field in sent.items())

    head.parser.feed_data(b"POST / HTTP/%s\r\n%s\r\n" % (version, lines))

    assert head.versions == (version.decode(),) * 2
