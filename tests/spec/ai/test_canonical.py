"""One text for each JSON value."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tollhouse.ai.canonical import DEPTH_MAX, canonicalize, off_loop, parse
from tollhouse.errors import InvalidInput
from tollhouse.runtime.garbage import LARGE_BYTES

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3).map(float)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Return whether two JSON values are the same: numbers by value, members in any order, all else strictly."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@st.composite
def variants(draw: st.DrawFn, value: Any) -> Any:
    """Draw the same value in another form: members shuffled, whole numbers as floats if that is exact."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: draw(variants(value[name])) for name in names}
    if isinstance(value, list):
        return [draw(variants(item)) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 and draw(st.booleans()):
        return float(value)
    return value


@given(data=st.data(), value=JSON)
def test_the_same_value_has_one_text(data: st.DataObject, value: Any):
    """The order of members and the writing of numbers make no difference."""
    variant = data.draw(variants(value))
    assert same(value, variant)

    assert canonicalize(variant).text == canonicalize(value).text


@given(left=JSON, right=JSON)
@example(left=True, right=1)
@example(left=[1, 2], right=[2, 1])
@example(left={"a": None}, right={})
@example(left="é", right="e\u0301")
@example(left=2**53, right=2**53 + 1)
@example(left=float(2**53), right=2**53 + 1)
@example(left="1", right=1)
@example(left=["a", "b"], right=['a","b'])
@example(left=0.1, right=0.1 + 2**-55)
@example(left=1e23, right=10**23)
@example(left=[], right={})
def test_different_values_have_different_texts(left: Any, right: Any):
    """Two texts are equal if and only if the values are the same."""
    assert (canonicalize(left).text == canonicalize(right).text) == same(left, right)


@given(value=JSON)
def test_the_text_is_json_for_the_value(value: Any):
    """The canonical text has the same value, and is its own canonical text."""
    canonical = canonicalize(value)

    assert same(json.loads(canonical.text), value)
    assert canonicalize(canonical.value) == canonical


@given(value=JSON, indent=st.none() | st.integers(0, 2), ascii_only=st.booleans())
def test_reading_json_is_the_same_as_taking_the_value(value: Any, indent: int | None, ascii_only: bool):
    """White space and escapes make no difference; a text without doubled names is accepted."""
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()

    assert parse(msgspec.Raw(raw)) == canonicalize(value)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"b": 1.0, "a": [1e2, -0.0]}', b'{"a":[100,0],"b":1}'),
        (b"123456789012345678901234567890", b"123456789012345678901234567890"),
        (b"1e22", b"10000000000000000000000"),
        (b"1.5", b"1.5"),
        (b'"\\u00e9"', '"é"'.encode()),
        (b'"a:b"', b'"a:b"'),
        (b'{"\\"a\\\\": ":"}', b'{"\\"a\\\\":":"}'),
    ],
)
def test_examples_of_canonical_texts(raw: bytes, text: bytes):
    """Integers are exact, whole floats are integers, characters are themselves."""
    assert parse(raw).text == text


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'[{"x": {"b": 1, "a": 2, "b": ":"}}]',
        b'{"a": {"b": 1}, "c": 2, "a": 3}',
        b'{"": 1, "": {"a": 1}}',
    ],
)
def test_an_object_that_names_a_member_twice_is_refused(raw: bytes):
    """Parsers differ in which of the two they keep, so that what is hashed might not be what is seen."""
    with pytest.raises(InvalidInput) as refused:
        parse(raw)

    assert refused.value.field == "input"
    assert "once" in refused.value.remedy


@given(value=st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=4), data=st.data())
def test_any_doubled_name_is_found(value: dict[str, Any], data: st.DataObject):
    """Wherever a name is doubled in an object, and whatever its value, the text is refused."""
    name = data.draw(st.sampled_from(list(value)))
    doubled = data.draw(JSON)
    members = [json.dumps(each) + ":" + json.dumps(value[each]) for each in value]
    members.insert(data.draw(st.integers(0, len(members))), json.dumps(name) + ":" + json.dumps(doubled))

    with pytest.raises(InvalidInput):
        parse(("[{" + ",".join(members) + "}]").encode())


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"NaN", b"Infinity", b"1e999", b'"\\ud800"', b'"\xff"', b"\xff", b"[" * 5_000, b"9" * 5_000, b"1 2"],
)
def test_text_that_is_no_json_is_refused(raw: bytes):
    """NaN, infinities, lone surrogates, broken text and endless nesting are input errors, not failures."""
    with pytest.raises(InvalidInput):
        parse(raw)


def test_an_error_shows_the_text_as_it_was_sent():
    """Bytes that are not UTF-8 are escaped, and a long text is cut."""
    with pytest.raises(InvalidInput) as refused:
        parse(b'"caf\xc3\xa9 \xff' + b"x" * 1_000)

    assert refused.value.value == '"café \\xff' + "x" * 72


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), b"bytes", {1: "a"}, {None: 1}, {1, 2}, object(), "\ud800", {"\ud800": 1}, [10**5000]],
    ids=itertools.count(),
)
def test_a_value_without_a_json_form_is_refused(value: Any):
    """Python values without a JSON form are input errors."""
    with pytest.raises(InvalidInput):
        canonicalize(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"[],{}," * 40_000 + b"0]",
        b"[" + b'"\\\\", "[[:\\"{", ' * 20_000 + b"0]",
        b'{"a": "' + b"[:" * 100_000 + b'", "b": 1.5}',
        b"[" + b"[" * 60 + b"]" * 60 + b"," + b"[[1.0, 2e0]], " * 20_000 + b"0]",
    ],
    ids=["brackets", "strings", "one string", "deep"],
)
def test_a_long_text_is_read_like_a_short_one(raw: bytes):
    """Strings and brackets are told apart wherever a text is divided."""
    assert same(parse(raw).value, json.loads(raw))
    with pytest.raises(InvalidInput, match="once"):
        parse(b'{"a": 1, "b": ' + raw + b', "a": 1}')
    with pytest.raises(InvalidInput, match="levels"):
        parse(b"[" * 64 + raw + b"]" * 64)


@pytest.mark.parametrize(
    ("raw", "calls"), [(b"[0, true, null, {}]", 0), (b'[{"a": "1.5"}, ""]', 0), (b"[1.5, 1e3]", 2)]
)
def test_no_python_code_runs_for_each_value(raw: bytes, calls: int):
    """A thousand values take as many Python calls as four; only numbers with a fraction or an exponent have one."""
    long = b"[" + b",".join([raw] * 1_000) + b"]"

    assert (python_calls(long) - python_calls(b"[" + raw + b"]")) // 999 == calls


def python_calls(raw: bytes) -> int:
    """Return how many Python functions run while a text is parsed."""
    counted = [0]

    def count(_frame: object, event: str, _argument: object) -> None:
        counted[0] += event == "call"

    sys.setprofile(count)
    try:
        parse(raw)
    finally:
        sys.setprofile(None)
    return counted[0]


@pytest.mark.parametrize("value", [("a", 1), {"a": (1, (2.0, {"b": ()}))}, [("a",), {"b": [1.0]}]])
def test_a_tuple_is_an_array(value: Any):
    """A tuple has the canonical form of the list of its items."""
    assert canonicalize(value) == canonicalize(json.loads(json.dumps(value)))


@pytest.mark.parametrize("value", [{1: "a"}, [{"b": {None: 1}}], ({"a": ({2.5: 1},)},), {True: ("x",)}])
def test_a_name_that_is_no_text_is_refused_at_any_depth(value: Any):
    """It would share the key of the text that it is written as."""
    with pytest.raises(InvalidInput) as refused:
        canonicalize(value)

    assert (refused.value.field, refused.value.remedy[:4]) == ("input", "name")


@pytest.mark.parametrize(("size", "on_loop"), [(LARGE_BYTES, True), (LARGE_BYTES + 1, False)])
async def test_work_on_a_long_text_is_done_in_a_thread(size: int, on_loop: bool):
    """Up to 64 KiB it is done at once."""
    thread = await off_loop(b"x" * size, threading.current_thread)

    assert (thread is threading.main_thread()) == on_loop


def test_nesting_is_bounded():
    """64 levels are read, 65 are not."""

    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    assert canonicalize(nested(DEPTH_MAX)).text == b"[" * DEPTH_MAX + b"1" + b"]" * DEPTH_MAX
    with pytest.raises(InvalidInput) as refused:
        canonicalize(nested(DEPTH_MAX + 1))
    assert (refused.value.field, str(DEPTH_MAX) in refused.value.remedy) == ("input", True)


@given(value=JSON)
def test_a_model_sees_what_was_hashed(value: Any):
    """Equal inputs reach the model as equal values of equal types: 1.0 is given as 1."""
    assume(value is not None)
    canonical = canonicalize(value)

    assert repr(canonicalize(json.loads(canonical.text)).value) == repr(_sorted(canonical.value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(name=st.text(max_size=5), value=JSON)
def test_the_one_member_of_an_object_is_canonical_too(name: str, value: Any):
    """The canonical form of a member is cut out of its object: it is what canonicalizing the value alone gives."""
    assert canonicalize({name: value}).only_member(name) == canonicalize(value)
