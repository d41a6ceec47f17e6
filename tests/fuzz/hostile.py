"""Values that clients send on purpose: strategies of text, JSON, headers, queries and paths, mild and hostile."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

DEPTHS: Final = (65, 900, 2_000, 40_000)
OPENINGS: Final = (b"[", b'{"a":', b'{"policy":[', b'[{"policy":', b'{"input":[')
UNITS: Final = (0, 1, 2, -1, 10**9, 10**9 + 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400)

ODD_TEXTS: Final = (
    "",
    " ",
    "ada",
    "k" * 512,
    "k" * 513,
    "k" * 5_000,
    "\x00",
    "a\nb",
    "a\r\nSet-Cookie: x=1",
    "\u2028",
    "\ufeff",
    "\u202e",
    "é" * 300,
    "\U0001f511",
    "{a}",
    "{",
    "{}",
    "}{",
    "*",
    "%s%n%d",
    "10.0.0.1",
    "address:10.0.0.0/8",
    "::ffff:10.0.0.1/128",
    "fe80::1%eth0",
    "1e999",
    "v1.",
    "v1.00000000.00.aaaaaaaaaaaaaaaaaaaaaaaaaa.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "v1.00000000.00000000000000000000000000000000.aaaaaaaaaaaaaaaaaaaaaaaaaa.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "local-" + "0" * 32,
    "0" * 32,
    "NaN",
    "null",
)
TEXTS = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=40), st.text(alphabet="a{}:/.%\\\"' ", max_size=80))
NUMBERS = st.one_of(st.sampled_from(UNITS), st.integers(-5, 5), st.floats())
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def json_text(value: Any) -> bytes:
    """Return a value as JSON, as Python writes it: NaN and lone surrogates included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


NESTED = st.builds(lambda opening, depth: opening * depth, st.sampled_from(OPENINGS), st.sampled_from(DEPTHS))
BROKEN = st.one_of(
    NESTED,
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"",
            b"null",
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00",
            b"{",
            b"[]",
            b'"\\ud800"',
            b'{"policy":"api","key":"\\ud83d\\u0041"}',
            b'{"policy":"api","key":"\\udfff","cost":1}',
            b'{"policy":"api","policy":"other","key":"a"}',
            b'{"policy":"api","key":"\xed\xa0\x80"}',
            b"1" * 5_000,
            b'{"policy":"api","key":"a","cost":' + b"9" * 5_000 + b"}",
            b'{"policy":"api","key":"a","cost":1e400}',
            b'{"policy":"api","key":"a","cost":-0}',
            b'{"input":' + b"9" * 4_299 + b"}",
            b'{"input":' + b"[" * 63 + b"]" * 63 + b"}",
            b'{"input":' + b"[" * 64 + b"]" * 64 + b"}",
            b'{"input":{"a":1,"a":2}}',
            b'{"input":NaN}',
            b'{"input":1e999}',
            b'{"input":"' + b'\\"' * 2_000 + b'"}',
            b'{"input":"' + b"\\" * 4_001 + b'"}',
        ]
    ),
)
BODIES = st.one_of(BROKEN, VALUES.map(json_text))

HEADER_VALUES = st.one_of(
    st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\x00")),
    TEXTS.map(lambda text: text.encode("utf-8").translate(None, b"\r\n\x00")),
    VALUES.map(json_text),
    st.sampled_from(
        [b"", b" ", b"\xa0", b"\xff" * 9, b"," * 300, b";" * 300, b'"' * 301, b"=" * 200, b"\t", b"a" * 4_000]
    ),
)
_ORIGINS: Final = (
    b"http://[",
    b"http://]",
    b"http://[::1]x",
    b"null",
    b"http://",
    b"://",
    b"http://a:b",
    b"http://\xe2\x84\x80",
)
_MEDIA: Final = (
    b"application/json",
    b"application/json; charset=utf-8",
    b"text/plain",
    b"application/x-www-form-urlencoded",
)
_FORMS: Final = (
    b"multipart/form-data",
    b"multipart/form-data; boundary=x",
    b"application/msgpack",
    b"a/b/c;;=",
    b"application/",
)
_FORWARDED: Final = (
    b"for=",
    b'for="',
    b'for="[::1',
    b'for="[2001:db8::1]:99999"',
    b'for="[]"',
    b"for=a;for=b,for=c",
    b"for=" + b'"\\' * 400,
)
_HOSTS: Final = (b"testserver", b"", b"[", b"[::1", b"a:b:c", b"h" * 3_000, b"\xff", b"testserver:99999999")
_COOKIES: Final = (
    b"tollhouse-dev=",
    b"tollhouse-dev=v1.",
    b"tollhouse-dev",
    b"=",
    b";;=;",
    b'tollhouse-dev="',
    b"__Host-tollhouse=\xff",
)
_SPECIAL: Final = {
    b"origin": _ORIGINS,
    b"content-type": _MEDIA + _FORMS,
    b"forwarded": _FORWARDED,
    b"x-forwarded-for": (
        b",",
        b"1.2.3.4, 10.0.0.1",
        b"1.2.3.4:99999999",
        b"[]",
        b"[]:80, :80",
        b"[::1",
        b"%",
        b"::ffff:1.2.3.4%x",
        b"9" * 100,
    ),
    b"host": _HOSTS,
    b"cookie": _COOKIES,
    b"authorization": (b"Bearer", b"Bearer ", b"bearer x", b"Basic Og==", b"Bearer " + b"~" * 3_000, b"Bearer \xe9"),
    b"x-api-key": (b"a-guess", b"\xe9" * 20),
    b"sec-fetch-site": (b"same-origin", b"none", b"cross-site", b"\xff"),
    b"cache-control": (b"no-cache", b"\xff", b"no-cache" * 200),
    b"user-agent": (b"\xff\xfe", b"\x7f\x80", b"a" * 4_000, "\u202e".encode()),
    b"accept": (b"", b"*/*;q=x", b"text/html;" * 200, b"application/x-yaml", b"\xff"),
    b"x-http-method-override": (b"DELETE",),
    b"content-encoding": (b"gzip",),
    b"range": (b"bytes=0-",),
    b"if-none-match": (b"*", b'"'),
    b"expect": (b"100-continue",),
    b"traceparent": (b"00-" + b"0" * 55,),
}


def _header(name: bytes) -> st.SearchStrategy[tuple[bytes, bytes]]:
    values = st.booleans().flatmap(lambda special: st.sampled_from(_SPECIAL[name]) if special else HEADER_VALUES)
    return st.tuples(st.just(name), values)


HEADERS = st.lists(st.sampled_from(sorted(_SPECIAL)).flatmap(_header), max_size=3)

_ESCAPES = st.sampled_from(
    ["%00", "%0a", "%2f", "%2e", "%ff", "%ed%a0%80", "%", "%zz", "//", "/./", "/../", ";a=b", "%25", "?"]
)
PATH_PARTS = st.lists(_ESCAPES | st.text(alphabet="abcz09.-_~:", max_size=8), max_size=4).map("".join)
QUERIES = st.one_of(
    st.just(b""),
    st.sampled_from(
        [
            b"=",
            b"&&",
            b"all",
            b"all=",
            b"all=true",
            b"tag=",
            b"tag=%ed%a0%80",
            b"tag=%00",
            b"pattern=%5b",
            b"pattern=[^",
        ]
    ),
    st.sampled_from(
        [
            b"except=current",
            b"except=",
            b"use_cache=maybe",
            b"use_cache=false",
            b"verbose=1",
            b"%",
            b"%zz=%ff",
            b"a=b" * 999,
        ]
    ),
    st.text(alphabet=[chr(code) for code in range(0x21, 0x7F) if code != ord("#")], max_size=30).map(str.encode),
)
