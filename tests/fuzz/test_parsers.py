"""Every parser of text from outside: it returns, or raises the error that its callers expect, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import hostile
from tests.fuzz.harness import ANSWER_S, examples
from tollhouse.accounts.names import canonical
from tollhouse.accounts.rules import password_bytes
from tollhouse.ai.canonical import parse
from tollhouse.asgi.client_address import ClientAddresses
from tollhouse.asgi.credentials import bearer_token
from tollhouse.cache.codec import decode_body
from tollhouse.errors import TollhouseError
from tollhouse.limits.policy.access_list import compile_access_lists
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import ALGORITHMS, Limit, Policy
from tollhouse.sessions.tokens import parse as parse_token
from tollhouse.settings.networks import trusted_networks
from tollhouse.stores.urls import urls_by_store
from tollhouse.wiring import load_settings

TRUSTED: Final = trusted_networks(("127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"))
LONG: Final = st.builds(lambda text, times: text * times, st.text(max_size=4), st.integers(0, 3_000))
TEXTS: Final = hostile.TEXTS | LONG
DIGITS: Final = st.integers(0, 10**30).map(str) | st.builds(
    lambda digit, times: digit * times, st.sampled_from("09٣"), st.integers(0, 6_000)
)
LIMITS: Final = st.builds(
    "{}{}{}{}".format,
    DIGITS,
    st.sampled_from(["/", " per ", "-", " every ", "", "//"]),
    st.sampled_from(["minute", "M", "5 minutes", "s", "1", "10d", "weeks", "99999999999h", ""]) | DIGITS,
    st.sampled_from(["", " burst 5", "; ", ";;", " burst " + "9" * 5_000, "; 5/second"]),
)
URLS: Final = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["redis://", "rediss://", "unix://", "redis+sentinel://", "fake://", "embedded://", "http://", ""]),
    st.sampled_from(["", "user:pw@", ":@", "@", "%ff:%00@", "a@b@"]),
    st.sampled_from(["h", "h1,h2,h3", "[::1]", "[", "]", "[::1]x", "h:99999", "h:٣", "h:-1", ",", "\u2100", "h" * 300])
    | TEXTS,
    st.sampled_from(["", "/", "/0", "/-1", "/" + "9" * 5_000, "/svc/0", "/٣", "/x", "/%2f"]),
    st.sampled_from(
        ["", "?", "?db=", "?db=" + "9" * 5_000, "?=&", "?a=b", "?timeout=1e999", "?db=1&db=2", "#", "?%ff"]
    ),
)
HOPS: Final = st.binary(max_size=60) | st.sampled_from(
    [
        b"[]",
        b"[]:1",
        b":1",
        b"," * 5_000,
        b"for=" * 2_000,
        b'for="' + b"\\" * 5_000,
        b'for="a"' * 1_000,
        b"1.2.3.4," * 3_000,
        b" " * 9_000 + b"x",
    ]
)


def _address(forwarded: bytes, listed: bytes, peer: str) -> str:
    headers = [(b"forwarded", forwarded), (b"x-forwarded-for", listed)]
    return ClientAddresses(TRUSTED).client_of({"client": (peer, 1), "headers": headers})


def _lists(entry: str) -> object:
    policy = Policy(name="p", limits=(Limit(units=1, window_ms=1_000),), deny=(entry,), allow=(entry,))
    lists = compile_access_lists(policy)
    return None if lists is None else lists.match(entry)


def _settings(variable: str, value: str) -> object:
    return load_settings(environ={variable: value})


_NUMBERS: Final = ("PORT", "WORKERS", "BODY_BYTES")
_TEXTS: Final = ("URL", "TRUSTED_PROXIES", "SECRET", "SERVICE_KEY", "LIMITS_POLICIES", "X")
VARIABLES: Final = st.sampled_from(["REDIS_URL", "CACHE_TTL", *(f"TOLLHOUSE_{name}" for name in _NUMBERS + _TEXTS)])

PARSERS: Final[dict[str, tuple[Callable[..., Any], tuple[st.SearchStrategy[Any], ...]]]] = {
    "notation": (
        lambda text, algorithm: parse_policy("p", text, algorithm),
        (LIMITS | TEXTS, st.sampled_from(ALGORITHMS)),
    ),
    "url": (lambda url: urls_by_store(url, {}), (URLS,)),
    "settings": (_settings, (VARIABLES, TEXTS | DIGITS | URLS)),
    "networks": (lambda text: trusted_networks((text,)), (TEXTS | DIGITS,)),
    "access lists": (_lists, (TEXTS.filter(bool),)),
    "client address": (
        _address,
        (HOPS, HOPS, st.sampled_from(["127.0.0.1", "10.0.0.1", "", "x", "2001:db8::1", "::1%lo"])),
    ),
    "bearer token": (bearer_token, (TEXTS | st.just("bearer" + " " * 50_000 + "\x00"),)),
    "session token": (parse_token, (TEXTS,)),
    "canonical JSON": (parse, (hostile.BODIES | st.just(b'"' + b"\\" * 200_001),)),
    "user name": (canonical, (TEXTS,)),
    "password": (password_bytes, (TEXTS,)),
    "cached body": (lambda body: decode_body(body, b"0" * 16), (st.binary(max_size=80),)),
}


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_returns_or_refuses(name: str) -> None:
    """Whatever the text, a parser ends within its time: with a value, or with one of our errors."""
    parser, arguments = PARSERS[name]

    @examples(0.02)
    @given(st.tuples(*arguments))
    def ends(given: tuple[Any, ...]) -> None:
        began_s = time.monotonic()
        with suppress(TollhouseError):
            parser(*given)
        assert time.monotonic() - began_s < ANSWER_S

    ends()
