"""Error messages: the field, the value as far as it fits, and the remedy."""

from __future__ import annotations

import pytest

from tollhouse.errors import ConfigurationError, InvalidInput

#   value, how it is shown
SHOWN: list[tuple[object, str]] = [
    ("short", "'short'"),
    ("x" * 500, "'" + "x" * 77 + "'..."),
    (b"x" * 500, "b'" + "x" * 77 + "'..."),
    (7, "7"),
    (10**5_000, "an integer of 16610 bits"),
    (None, "None"),
    (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]"),
]


@pytest.mark.parametrize(("value", "shown"), SHOWN, ids=[shown[:8] for _, shown in SHOWN])
def test_a_value_is_shown_as_far_as_it_fits(value: object, shown: str) -> None:
    """The message is bounded for values of every size and type."""
    assert str(InvalidInput("field", value, "do better")) == f"field: {shown}: do better"
    assert str(ConfigurationError("SETTING", value, "do better")) == f"SETTING: {shown}: do better"
