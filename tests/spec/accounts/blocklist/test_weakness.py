"""What makes a new password weak, and which rules an application is told."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tollhouse.accounts.blocklist.weakness import RULES, weaknesses, words_of, words_of_name
from tollhouse.accounts.blocklist.words import ranked_passwords
from tollhouse.accounts.rules import CHARACTERS_MIN

WORDS = (Path(__file__).parent / "diceware.txt").read_text(encoding="utf-8").split()
"""Every twelfth word of the list for passphrases in the npm package @zxcvbn-ts/language-common (MIT)."""

NAME = words_of_name("ada.lovelace@example.com")
SERVICE = words_of(["Acme Rockets", "shop-eu", "---"])


def broken(password, characters_min=CHARACTERS_MIN):
    return weaknesses(password, name=NAME, service=SERVICE, characters_min=characters_min)


#    password, the rules that it breaks
REFUSED = [
    ("Summer2026Summer2026", {"common", "date", "repeated"}),
    ("01/01/1990 01/01/1990", {"date", "repeated"}),
    ("password password 1", {"common", "repeated"}),
    ("short", {"short", "common"}),
    ("tandem walrus", {"short", "common"}),
    ("\u00e9" * 14, {"short", "repeated", "sequence"}),
    ("P4ssw0rd!P4ssw0rd!", {"common", "repeated"}),
    ("p-a-s-s-w-o-r-d-2-0-2-6", {"common", "date"}),
    ("p\u00e4ssw\u00f6rd p\u00e4ssw\u00f6rd", {"common", "repeated"}),
    (
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff11\uff12\uff13\uff14\uff15\uff16\uff17",
        {"common", "sequence"},
    ),
    ("drowssap123password", {"common", "sequence"}),
    ("sunflowerbutterfly", {"common"}),
    ("Waiting for the Sun", {"common"}),
    ("waiting-for-the-sun 2019!", {"common"}),
    ("1q2w3e4r5t6y7u8i9o", {"sequence"}),
    ("zyxwvutsrqponmlkj", {"sequence"}),
    ("!@#$%^&*()!@#$%^&*()", {"sequence"}),
    ("xkvqtw xkvqtw xkvqtw", {"repeated"}),
    ("19900101 20260228", {"date"}),
    ("31.12.99 24.12.03 01.02.97", {"date"}),
    ("ada lovelace ada lovelace", {"name"}),
    ("Example.com-Ada-1985!", {"name"}),
    ("acme rockets acme rockets", {"service"}),
    ("shop-eu!acme!2026", {"service", "date"}),
]


@pytest.mark.asvs("6.1.2", "6.2.4", "6.2.11")
@pytest.mark.parametrize(("password", "rules"), REFUSED, ids=[ascii(row[0]) for row in REFUSED])
def test_a_weak_password_breaks_rules_that_have_names(password, rules):
    """Folding hides no common word, pattern or name, and each rule that is broken is told."""
    found = broken(password)

    assert rules <= set(found) <= set(RULES)
    assert len(found) == len(set(found))


ACCEPTED = [
    "tandem walrus cartwheel",
    "nine apples fell on Tuesday",
    "my cat is called ada.lovelace",
    "x7q9-kk3v-pp2m-zz8w",
    "482619375028461",
    "my little pony is a rocket at acme",
    "virus alfalfa evolve",
    "\u4e16\u754c\u306e\u5e73\u548c\u3092\u9858\u3046\u79c1\u305f\u3061\u306e\u53e4\u3044\u6b4c",
    "".join(map(chr, range(0x1F400, 0x1F5E0, 32))),  # animals, hearts, clocks
    "%(?!=+:<]}@[/{$~",
]


@pytest.mark.asvs("6.2.5")
@pytest.mark.parametrize("password", ACCEPTED, ids=ascii)
def test_a_password_of_any_characters_is_good_if_nothing_gives_it_away(password):
    """No kind of character is required, and none is worth nothing."""
    assert broken(password) == ()


#    how people make a frequent password long enough
DOUBLED = [lambda word: word + word, lambda word: word.title() + "2026", lambda word: word.ljust(CHARACTERS_MIN, "1")]
STRETCHED = [
    lambda word: f"{word}{word}{word}!",
    lambda word: f"{word} {word} 1",
    lambda word: f"1990{word}",
    lambda word: f"{word}-2026-{word}",
    lambda word: (word * CHARACTERS_MIN)[:CHARACTERS_MIN],
    lambda word: word.ljust(CHARACTERS_MIN, "!"),
    lambda word: (word + "123456789012345")[: max(CHARACTERS_MIN, len(word))],
    lambda word: word.rjust(CHARACTERS_MIN, "x"),
    lambda word: word.upper() + word[::-1],
]


@pytest.mark.asvs("6.2.4")
def test_no_frequent_password_passes_when_stretched():
    """The 3,000 most frequent are refused doubled, with a year or padded, even if eight characters were enough."""
    frequent = ranked_passwords()[:3_000]
    stretched = [
        *(stretch(word) for word in frequent for stretch in DOUBLED),
        *(STRETCHED[rank % len(STRETCHED)](word) for rank, word in enumerate(frequent)),
    ]

    assert [ascii(password) for password in stretched if not broken(password, 8)] == []


def test_no_passphrase_of_four_words_is_refused():
    """Of 1,000 random passphrases none is refused."""
    choose = random.Random(63).choice

    phrases = [" ".join(choose(WORDS) for _ in range(4)) for _ in range(1_000)]

    assert [(phrase, rules) for phrase in phrases if (rules := broken(phrase))] == []


HARD = [
    "".join(random.Random(7).choice(["password", "letmein", "1990", "p4ssw0rd", "dragon", "abc"]) for _ in range(200)),
    "a1" * 512,
    "abc" * 341,
    "20261990" * 128,
    "\ufdfa" * 341,
    "s0p4" * 256,
    "password" * 127 + "xkjwqz",
    "".join(chr(33 + at * at % 94) for at in range(1_024)),
]


@pytest.mark.parametrize("password", [text[:1_024] for text in HARD], ids=range(len(HARD)))
def test_the_time_of_a_check_is_bounded(password):
    """The longest passwords that are allowed, of many pieces, take some milliseconds and not seconds."""
    broken(password)
    start = time.process_time()

    broken(password)

    assert time.process_time() - start < 0.2
