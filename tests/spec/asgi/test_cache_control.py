"""What a client demands of a cache."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.asgi.cache_control import CacheControl, cache_control

FOR_EVER_S = 2**31

#   field lines, what they demand
DEMANDS: list[tuple[list[bytes], CacheControl]] = [
    ([], CacheControl()),
    ([b""], CacheControl()),
    ([b"no-store"], CacheControl(no_store=True)),
    ([b"No-Cache"], CacheControl(no_cache=True)),
    ([b"only-if-cached"], CacheControl(only_if_cached=True)),
    ([b"max-age=60"], CacheControl(max_age_s=60)),
    ([b"max-age=0"], CacheControl(max_age_s=0)),
    ([b"min-fresh=10"], CacheControl(min_fresh_s=10)),
    ([b'max-age="60"'], CacheControl(max_age_s=60)),
    ([b"max-age=0060"], CacheControl(max_age_s=60)),
    ([b" ,, max-age = 60 ,\tno-store,"], CacheControl(max_age_s=60, no_store=True)),
    ([b"max-age=60", b"no-store"], CacheControl(max_age_s=60, no_store=True)),
    ([b"max-age=60, max-age=30"], CacheControl(max_age_s=30)),
    ([b"max-age=30", b"max-age=60"], CacheControl(max_age_s=30)),
    ([b"min-fresh=10, min-fresh=20"], CacheControl(min_fresh_s=20)),
    ([b"max-age"], CacheControl(max_age_s=0)),
    ([b"max-age=soon, min-fresh=soon"], CacheControl(max_age_s=0, min_fresh_s=FOR_EVER_S)),
    ([b"max-age=-1"], CacheControl(max_age_s=0)),
    ([b"max-age=1.5"], CacheControl(max_age_s=0)),
    ([b"max-age=" + b"9" * 5_000], CacheControl(max_age_s=FOR_EVER_S)),
    ([b"no-cache=1"], CacheControl(no_cache=True)),
    ([b'no-cache="set-cookie, etag"'], CacheControl(no_cache=True)),
    ([b"x-no-cache, no-cacheable, x-no-cacheable, no-storeroom"], CacheControl()),
    ([b"max-stale=60, no-transform, stale-if-error=5, unknown, other=1"], CacheControl()),
    ([b'x="no-store, no-cache"'], CacheControl()),
    ([b'x="a\\", no-store"'], CacheControl()),
    ([b'x="a", no-store'], CacheControl(no_store=True)),
    ([b'x="never closed, no-store'], CacheControl(no_store=True)),
    ([b'x="never closed', b"no-store"], CacheControl(no_store=True)),
    ([b"a b, no-store"], CacheControl(no_store=True)),
    ([b"no-store b"], CacheControl()),
    ([b"=1, no-store"], CacheControl(no_store=True)),
    ([b"no-store;no-cache"], CacheControl()),
]


@pytest.mark.parametrize(("lines", "demanded"), DEMANDS, ids=[repr(lines)[:40] for lines, _ in DEMANDS])
def test_each_directive_counts_by_its_whole_name(lines: list[bytes], demanded: CacheControl) -> None:
    """Of all field lines, in any letter case; quoted text is a value, and what is not known is ignored."""
    fields = [(b"cache-control" if at else b"Cache-Control", line) for at, line in enumerate(lines)]

    assert cache_control([(b"accept", b"no-store"), *fields]) == demanded


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_any_bytes_are_read(lines: list[bytes]) -> None:
    """No field makes a request fail; what is demanded stands in it as a word."""
    demanded = cache_control([(b"cache-control", line) for line in lines])

    for name in ("no-store", "no-cache", "only-if-cached"):
        word = re.compile(rb"(^|[\s,])%b($|[\s,=])" % name.encode(), re.IGNORECASE)
        assert not getattr(demanded, name.replace("-", "_")) or any(word.search(line) for line in lines)


#   demand, age_ms, ttl_ms, whether it answers
ACCEPTED: list[tuple[CacheControl, int, int, bool]] = [
    (CacheControl(), 10**9, 0, True),
    (CacheControl(no_cache=True), 0, 10**9, False),
    (CacheControl(max_age_s=60), 60_000, 1, True),
    (CacheControl(max_age_s=60), 60_001, 1, False),
    (CacheControl(max_age_s=0), 0, 1, True),
    (CacheControl(min_fresh_s=10), 0, 10_000, True),
    (CacheControl(min_fresh_s=10), 0, 9_999, False),
    (CacheControl(max_age_s=60, min_fresh_s=10), 60_000, 9_999, False),
]


@pytest.mark.parametrize(("demand", "age_ms", "ttl_ms", "accepted"), ACCEPTED)
def test_a_stored_value_answers_if_it_is_fresh_enough(
    demand: CacheControl, age_ms: int, ttl_ms: int, accepted: bool
) -> None:
    """Both bounds hold, the limits included."""
    assert demand.accepts(age_ms, ttl_ms) == accepted
