"""CacheKeys: one name for each value, whatever its ids contain."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tollhouse
from tests.caches import open_cache
from tests.worlds import World
from tollhouse.caching.facade import CacheManager
from tollhouse.caching.keys import CacheKeys
from tollhouse.errors import InvalidInput

#    the key, and how it is written
KEYS = [
    (CacheKeys.model("abc-123"), "model:abc-123"),
    (CacheKeys.model_list(3), "model:list:page:3"),
    (CacheKeys.model_metrics("abc-123"), "model:metrics:abc-123"),
    (CacheKeys.feature_importance("abc-123"), "model:feature_importance:abc-123"),
    (CacheKeys.feature_importance("abc-123", top_n=10), "model:feature_importance:abc-123:top_10"),
    (CacheKeys.model_metrics(7), "model:metrics:7"),
    (CacheKeys.model(UUID(int=7)), "model:00000000-0000-0000-0000-000000000007"),
    (CacheKeys.model_metrics("a:b*%"), "model:metrics:a%3Ab%2A%25"),
]
HASHED = [
    (CacheKeys.model_comparison(["a", "b"]), "model:comparison:"),
    (CacheKeys.prediction("m", {"x": 1}), "prediction:m:"),
    (CacheKeys.ai("gpt", "hello"), "ai:gpt:"),
    (CacheKeys.db("users", "select 1"), "db:users:"),
    (CacheKeys.api("/v1/items", {"page": 1}), "api:/v1/items:"),
]


@pytest.mark.parametrize(("key", "text"), KEYS)
def test_keys_are_written_as_in_the_guide(key: str, text: str) -> None:
    """S0-25, S0-26, S4-02, S4-18, S4-24, S4-25, S4-35, S4-51: words with colons; ids are escaped."""
    assert key == text


@pytest.mark.parametrize(("key", "prefix"), HASHED)
def test_what_else_a_value_depends_on_is_one_digest(key: str, prefix: str) -> None:
    """S0-27, S2-18, S2-21, S2-24: the last word is a digest, and reveals nothing of inputs and parameters."""
    head, _, digest = key.rpartition(":")

    assert f"{head}:" == prefix
    assert len(digest) == 32
    assert int(digest, 16) >= 0


def test_a_comparison_has_no_order_but_a_metric() -> None:
    """S4-21, S4-22: any order of the ids is one comparison; another metric, or none, is another."""
    compare = CacheKeys.model_comparison

    assert compare(["a", "b"], "accuracy") == compare(("b", "a"), metric="accuracy")
    assert len({compare(["a", "b"], metric) for metric in (None, "", "accuracy", "f1")}) == 4
    assert len({compare(["a", "b"]), compare(["a", "b", "c"]), compare(["a,b"]), compare(["a"])}) == 4


def test_inputs_that_differ_have_keys_of_their_own() -> None:
    """S0-03: equal inputs are one key, in whatever order they were written; other values and types are others."""
    assert CacheKeys.prediction("m", {"a": 1, "b": 2}) == CacheKeys.prediction("m", {"b": 2, "a": 1})
    inputs: list[Any] = [1, "1", 1.0, True, None, [1], {"a": 1}, b"1"]
    assert len({CacheKeys.prediction("m", one) for one in inputs}) == len(inputs)
    assert CacheKeys.db("t", "select ?", [1]) != CacheKeys.db("t", "select ?", ["1"])


IDS = st.one_of(
    st.integers(),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["a:top_1", "metrics", "list", "*"]),
)


@given(IDS, IDS, st.one_of(st.none(), st.integers(0, 3)), st.one_of(st.none(), st.integers(0, 3)))
def test_no_id_forges_another_key(one: Any, other: Any, top: int | None, other_top: int | None) -> None:
    """Keys are equal only if kind, id and number are; an id is one word, and no `*` of a pattern."""
    for build in (CacheKeys.model, CacheKeys.model_metrics, lambda each: CacheKeys.ai(each, 1)):
        assert (build(one) == build(other)) == (str(one) == str(other))
    same = str(one) == str(other) and top == other_top
    assert (CacheKeys.feature_importance(one, top) == CacheKeys.feature_importance(other, other_top)) == same
    keys = [
        CacheKeys.model(one),
        CacheKeys.model_metrics(other),
        CacheKeys.feature_importance(one),
        CacheKeys.model_list(1),
    ]
    assert len(set(keys)) == 4
    assert not any("*" in key for key in keys)


async def test_patterns_find_the_keys_of_one_kind(world: World) -> None:
    """S4-30, S4-36: the cascade of a training run, by patterns."""
    manager = CacheManager(open_cache(world))
    for key, _ in (*KEYS, *HASHED):
        await manager.set(key, "value")

    assert await manager.delete_pattern("model:feature_importance:abc-123:*") == 1
    assert await manager.delete_pattern("model:metrics:*") == 3
    assert await manager.delete_pattern("model:comparison:*") == 1


WRONG: list[tuple[Any, str]] = [
    (lambda: CacheKeys.model(None), "model_id"),
    (lambda: CacheKeys.model(""), "model_id"),
    (lambda: CacheKeys.model_metrics(True), "model_run_id"),
    (lambda: CacheKeys.model_metrics("x" * 257), "model_run_id"),
    (lambda: CacheKeys.feature_importance("a", top_n="5"), "top_n"),
    (lambda: CacheKeys.feature_importance("a", top_n=-1), "top_n"),
    (lambda: CacheKeys.model_list("1"), "page"),
    (lambda: CacheKeys.model_comparison("abc"), "model_run_ids"),
    (lambda: CacheKeys.model_comparison(7), "model_run_ids"),
    (lambda: CacheKeys.prediction("m", object()), "inputs"),
]


@pytest.mark.parametrize(("build", "field"), WRONG)
def test_what_names_nothing_is_refused(build: Any, field: str) -> None:
    """InvalidInput names the argument: a key is never made of `repr()`."""
    with pytest.raises(InvalidInput) as refused:
        build()

    assert refused.value.field == field


def test_the_names_are_public() -> None:
    """S4-02, S4-03: `CacheKeys` and `CacheTTL` are names of the package."""
    assert tollhouse.CacheKeys is CacheKeys
    assert tollhouse.CacheTTL.MEDIUM == 1800
