"""Errors: the field, the value as far as it fits, and the remedy; and what a call of several parts may have done."""

from __future__ import annotations

import pytest

from tollhouse.errors import ConfigurationError, InvalidInput, Outcome, Steps, StoreUnavailable, worst

#   value, how it is shown
SHOWN: list[tuple[object, str]] = [
    ("short", "'short'"),
    ("x" * 500, "'" + "x" * 77 + "'..."),
    (b"x" * 500, "b'" + "x" * 77 + "'..."),
    (7, "7"),
    (10**5_000, "an integer of 16610 bits"),
    (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]"),
]


@pytest.mark.parametrize(("value", "shown"), SHOWN, ids=[shown[:8] for _, shown in SHOWN])
def test_a_value_is_shown_as_far_as_it_fits(value: object, shown: str) -> None:
    """The message is bounded for values of every size and type."""
    assert str(InvalidInput("field", value, "do better")) == f"field: {shown}: do better"
    assert str(ConfigurationError("SETTING", value, "do better")) == f"SETTING: {shown}: do better"


def test_what_is_missing_is_told_so() -> None:
    """A setting without a value is not set; a caller that gives None gave it."""
    assert str(ConfigurationError("SETTING", None, "set it")) == "SETTING: not set: set it"
    assert str(InvalidInput("field", None, "give it")) == "field: None: give it"


#   outcomes of the parts, of the whole
WORST: list[tuple[tuple[Outcome, ...], Outcome]] = [
    (("not-sent",), "not-sent"),
    (("rejected", "not-sent"), "rejected"),
    (("not-sent", "rejected"), "rejected"),
    (("ambiguous", "not-sent"), "ambiguous"),
    (("rejected", "ambiguous", "not-sent"), "ambiguous"),
]


@pytest.mark.parametrize(("parts", "whole"), WORST)
def test_the_worst_outcome_of_the_parts_is_that_of_the_whole(parts: tuple[Outcome, ...], whole: Outcome) -> None:
    """An attempt that may have run outweighs any that did not."""
    assert worst(*parts) == whole


@pytest.mark.parametrize("outcome", ["not-sent", "rejected", "ambiguous"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_step_that_fails_after_another_ran_leaves_the_whole_ambiguous(begun: bool, outcome: Outcome) -> None:
    """Before anything ran, a step's own outcome is that of the whole; other errors pass as they are."""

    def fail(error: Exception) -> None:
        with Steps() as steps:
            steps.begun = begun
            raise error

    with pytest.raises(StoreUnavailable) as raised:
        fail(StoreUnavailable("sessions", outcome, "it is down"))
    with pytest.raises(KeyError):
        fail(KeyError())

    assert raised.value.outcome == ("ambiguous" if begun else outcome)
    assert (raised.value.store, raised.value.reason[:10]) == ("sessions", "it is down")
