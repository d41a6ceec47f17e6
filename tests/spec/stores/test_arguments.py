"""How the arguments of a call are sent."""

from __future__ import annotations

import pytest

from tollhouse.scripts import PRIMARY, FixedArguments
from tollhouse.stores.arguments import packed_call, with_primary
from tollhouse.stores.transport.connection import pack

SHA = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize("key", ["k", "tollhouse:rate:{0123}:api", "tollhouse:rate:{0123}:pölicy"])
@pytest.mark.parametrize("now_ms", [0, 1_800_000_000_000])
@pytest.mark.parametrize("values", [(1, "sliding-window", 1, 10**9, 60_000, 16, 1, 1), ("ö", 0), ()])
def test_a_call_of_fixed_arguments_has_the_bytes_of_any_other(
    key: str, now_ms: int, values: tuple[str | int, ...]
) -> None:
    """The server cannot tell whether arguments were packed for this call or for an earlier one."""
    fixed = FixedArguments(values)

    first, second = [packed_call(SHA, (key,), now_ms, fixed) for _ in range(2)]

    assert first == second == pack(("EVALSHA", SHA, 1, key, now_ms, *values))


def test_fixed_arguments_are_the_sequence_of_their_values() -> None:
    """What runs scripts in another way than by a connection reads them as it reads a tuple."""
    fixed = FixedArguments((1, "gcra", 5))

    assert (len(fixed), fixed[1], tuple(fixed), [0, *fixed]) == (3, "gcra", (1, "gcra", 5), [0, 1, "gcra", 5])


def test_the_name_of_the_primary_takes_the_place_of_its_placeholder() -> None:
    """It is at the position that the script's header gives it; a call may also name a primary itself."""
    assert with_primary(("a", PRIMARY, 5), 1, "abc") == ["a", "abc", 5]
    assert with_primary(("a", "another", 5), 1, "abc") == ("a", "another", 5)
