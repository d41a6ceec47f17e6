"""Common passwords: well-known words, runs of neighbouring keys, repetition, and combinations of these.

A password that is accepted may still be in a leak. A list of the most common passwords would hardly help: nearly all
are shorter than the 15 characters that are required anyway, and people stretch a short one to that length. So fewer
than two hundred words are known, and a password is common if such pieces make it up but for at most two characters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from tollhouse.accounts.names import folded_case

_UNIT_CHARACTERS: Final = 4
"""The longest repeated unit: a password that only repeats up to this many characters is common."""

_SPARE_CHARACTERS: Final = 2
"""The most letters or digits outside known pieces that a common password may have."""

_RUN_CHARACTERS: Final = 3

_WORDS: Final = """
    1q2w3e 1q2w3e4r 1q2w3e4r5t a1b2c3d4 abc123 abcd1234 access admin admin123 administrator alexander anthony arsenal
    asdf asdfgh ashley azerty babygirl baseball basketball batman blink182 changeme charlie chelsea computer cookie
    corvette cowboy daniel default demo dragon ferrari football freedom fuckyou guest hannah harley hello hello123
    helloworld hockey hunter2 iloveu iloveyou jasmine jennifer jessica jordan joshua killer letmein liverpool login
    lovely loveyou master matthew michael michelle mickey minecraft monkey mustang naruto nicole ninja pa55w0rd
    p@ssw0rd p@ssword pass passphrase passw0rd password passwort please pokemon princess q1w2e3r4 q1w2e3r4t5 qazwsx
    qwer qwert qwerty qwerty123 qwertz redis root samsung secret server shadow snoopy soccer spiderman starwars
    sunshine superman superuser taylor temp temporary test tester testing thomas thunder tigger tollhouse trustno1
    user username valkey welcome welcome1 whatever william yankees zaq12wsx zxcvbn zxcvbnm
    allyourbasearebelongtous areyoutalkingtome correcthorsebatterystaple donttellanyone everythingisawesome
    goodmorning goodnight hakunamatata happybirthday helloitsme hellothere hereisjohnny iamthebest iamyourfather
    idontknow ihatepasswords iloveyouforever iloveyousomuch imissyou inthebeginning isthisapassword itsasecret
    jesuschrist jesuslovesme keepcalmandcarryon knockknock leavemealone letmeinnow letmeinplease livelongandprosper
    loremipsum loremipsumdolorsitamet maytheforcebewithyou merrychristmas mypassword myverylongpassword
    nevergonnagiveyouup nopassword notmypassword onceuponatime openthedoor opensesame pleaseletmein sesameopen
    sorryiforgot stairwaytoheaven supersecret thankyou theanswer thebeatles thecakeisalie thequickbrownfox
    thequickbrownfoxjumpsoverthelazydog therecanbeonlyone theskyisblue thisisapassword thisisasecret
    thisismypassword tobeornottobe tobeornottobethatisthequestion topsecret trustnoone twinkletwinklelittlestar
    verysecret wearethechampions whatisyourname whoareyou winteriscoming youshallnotpass yourpassword
"""
_SEPARATORS: Final = str.maketrans("", "", " -_.,")

_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "1qaz",
    "2wsx",
    "3edc",
    "4rfv",
    "5tgb",
    "6yhn",
    "7ujm",
    "!@#$%^&*()",
)


def is_common(password: str, own: Iterable[str] = ()) -> bool:
    """Return True if a password is little more than known words, the owner's `own` words, runs or repetition."""
    text = _plain(password)
    if _repeats_few(text):
        return True
    known = _by_first(word for word in map(_plain, own) if word)
    runs = _run_ends(text)
    # spare[end]: the fewest letters and digits in text[:end] that belong to no known piece.
    spare = list(range(len(text) + 1))
    for start, character in enumerate(text):
        pieces = (*_KNOWN.get(character, ()), *known.get(character, ()))
        ends = [start + len(piece) for piece in pieces if text.startswith(piece, start)]
        if runs[start] - start >= _RUN_CHARACTERS:
            ends.append(runs[start])
        for end in ends:
            spare[end] = min(spare[end], spare[start])
        spare[start + 1] = min(spare[start + 1], spare[start] + character.isalnum())
    return spare[-1] <= _SPARE_CHARACTERS


def _plain(text: str) -> str:
    """Return the text case-folded and without the separators that people put between words."""
    return folded_case(text).translate(_SEPARATORS)


def _repeats_few(text: str) -> bool:
    """Return True if the text is its first few characters over and over."""
    return any(text == (text[:few] * len(text))[: len(text)] for few in range(1, _UNIT_CHARACTERS + 1))


def _run_ends(text: str) -> list[int]:
    """Return the end of the run of equal or neighbouring characters that starts at each position."""
    ends = [len(text)] * len(text)
    for start in range(len(text) - 2, -1, -1):
        pair = text[start : start + 2]
        ends[start] = ends[start + 1] if pair[0] == pair[1] or pair in _NEIGHBOURS else start + 1
    return ends


def _by_first(words: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    grouped: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for word in words:
        grouped[word[0]] += (word,)
    return grouped


_KNOWN: Final = _by_first(_WORDS.split())
_NEIGHBOURS: Final = frozenset(
    row[at : at + 2] for forward in _ROWS for row in (forward, forward[::-1]) for at in range(len(row) - 1)
)
