"""Suggestions for a misspelled name."""

from __future__ import annotations

import time

import pytest

from tollhouse.suggest import did_you_mean, one_of, similar

KNOWN = ("address", "api-key", "session", "user")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("adress", "did you mean 'address'?"),
        ("sesion", "did you mean 'session'?"),
        ("zzz", "use one of four"),
        ("", "use one of four"),
    ],
)
def test_the_most_similar_word_is_suggested(word: str, message: str) -> None:
    """A misspelling gets the nearest known word in quotes; a word that is like none gets the other remedy."""
    assert did_you_mean(word, KNOWN, otherwise="use one of four") == message


def test_a_suggestion_can_be_followed_by_more() -> None:
    """`also` follows the question, and is left out when there is no suggestion."""
    assert did_you_mean("usr", KNOWN, also="Known are 4", otherwise="known are 4") == "did you mean 'user'? Known are 4"
    assert did_you_mean("zzz", KNOWN, also="Known are 4", otherwise="known are 4") == "known are 4"


def test_similar_words_come_in_the_order_of_their_likeness() -> None:
    """The most likely word is first, and `likeness` says how far a word may be from `word`."""
    assert similar("mn", ("mo", "s", "min"), likeness=0.5) == ["min", "mo"]
    assert similar("mn", ("mo", "s", "min")) == ["min"]
    assert similar("mn", ()) == []


def test_a_long_word_costs_no_more_than_a_short_one() -> None:
    """Only the first 64 characters of a word are compared, since a client can send any length."""
    began = time.process_time()

    assert similar("ab" * 5_000_000, ["ab" * 32]) == ["ab" * 32]

    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("adress", "did you mean 'address'? Known are address, api-key, session, user"),
        ("USER", "did you mean 'user'? Known are address, api-key, session, user"),
        ("zzz", "known are address, api-key, session, user"),
        (None, "known are address, api-key, session, user"),
        (7, "known are address, api-key, session, user"),
    ],
)
def test_a_word_outside_a_closed_set_gets_its_neighbour_and_the_set(word: object, remedy: str) -> None:
    """The remedy names the word that may be meant, in whatever letter case, and always the whole set."""
    assert one_of(word, KNOWN) == remedy


def test_a_closed_set_keeps_its_letter_case_and_may_be_empty() -> None:
    """The suggestion is spelled as the set has it, and an empty set is told as such."""
    assert one_of("gte", ("GET", "PUT")) == "did you mean 'GET'? Known are GET, PUT"
    assert one_of("db", ()) == "known are none"
