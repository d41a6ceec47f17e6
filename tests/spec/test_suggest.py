"""Suggestions for a misspelled name."""

from __future__ import annotations

import time

import pytest

from tollhouse.suggest import one_of, similar

KNOWN = ("address", "api-key", "session", "user")


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


def test_a_long_set_is_not_listed() -> None:
    """`listed` says where the words are, in place of them; a prefix that all have makes no two words similar."""
    known = ("TOLLHOUSE_PORT", "TOLLHOUSE_HOST")

    assert one_of("TOLLHOUSE_PROT", known, listed="see the page") == "did you mean 'TOLLHOUSE_PORT'? See the page"
    assert one_of("TOLLHOUSE_XYZZY", known, listed="see the page", prefix="TOLLHOUSE_") == "see the page"


def test_a_closed_set_keeps_its_letter_case_and_may_be_empty() -> None:
    """The suggestion is spelled as the set has it, and an empty set is told as such."""
    assert one_of("gte", ("GET", "PUT")) == "did you mean 'GET'? Known are GET, PUT"
    assert one_of("db", ()) == "known are none"
