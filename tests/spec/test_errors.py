"""Errors: the field, the value as far as it fits, and the remedy; and what a call of several parts may have done."""

from __future__ import annotations

import pickle

import pytest

from tollhouse.errors import (
    ConfigurationError,
    InvalidInput,
    LoadFailed,
    Outcome,
    Overloaded,
    ScriptFailed,
    Steps,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    TollhouseError,
    worst,
)
from tollhouse.limits.decision import Decision, RateLimited

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


#   what a step raised after another ran
REJECTED: list[StoreError] = [
    StoreUnavailable("cache", "rejected", "it is busy"),
    StoreRefused("cache", "rejected", "NOPERM", "allow it"),
    ScriptFailed("ERR unknown command", "rejected"),
]


@pytest.mark.parametrize("error", REJECTED, ids=lambda error: type(error).__name__)
def test_every_error_of_a_store_after_another_step_is_ambiguous(error: StoreError) -> None:
    """A mistake of the setup and a defect change nothing by themselves: the steps before them did."""

    def call() -> None:
        with Steps() as steps:
            steps.begun = True
            raise error

    with pytest.raises(type(error), match="earlier steps of the call ran") as raised:
        call()

    assert raised.value.outcome == "ambiguous"


DECISION = Decision(
    allowed=False,
    policy="api",
    key="ada",
    cost=1,
    limits=(),
    retry_after_ms=7,
    refused_by="1/minute",
    degraded=False,
    reason="limit-reached",
)
ERRORS: list[TollhouseError] = [
    ConfigurationError("port", 99_999, "give another"),
    InvalidInput("cost", -1, "give more", kind="wrong"),
    Overloaded("the queue", 5),
    LoadFailed("model"),
    *REJECTED,
    RateLimited(DECISION),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_can_be_pickled(error: TollhouseError) -> None:
    """A pool of processes passes on what its functions raise; an error that cannot be read there breaks the pool."""
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_a_refusal_leaves_its_request_behind() -> None:
    """The request that was refused is of this process, and cannot be pickled."""
    copy = pickle.loads(pickle.dumps(RateLimited(DECISION, origin=lambda: None)))

    assert (copy.decision, copy.origin) == (DECISION, None)
