"""Account names: one spelling for all that differ in case or composition, and what a new name may consist of.

New names follow RFC 8265 (PRECIS, UsernameCaseMapped): letters, digits and marks of any script, printable ASCII, and
single spaces. They leave out what cannot be seen and what another character stands for; and in one part of a name only
scripts that are written together, so that no Cyrillic letter stands in for a Latin one. Nor may a whole name of other
letters look like one of ASCII. Names from before these rules log in as ever: `canonical`, which finds an account, maps
and refuses nothing more than it did.

Two differences from RFC 8265 keep those accounts reachable: case is folded as Unicode's caseless matching does it, and
full-width letters are refused instead of mapped.
"""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import Final

from tollhouse.accounts.characters import REFUSED, is_recent, skeleton
from tollhouse.errors import InvalidInput
from tollhouse.sessions.validation import named_user, valid_text

NAME_CHARACTERS_MAX: Final = 128

_CATEGORIES: Final = frozenset({"Ll", "Lu", "Lo", "Lm", "Nd", "Mn", "Mc"})
_EXCEPTIONS: Final = frozenset("\u06fd\u06fe\u0f0b\u3007")
"""Characters of other categories that RFC 8264, 9.6, admits."""

_WRITTEN_TOGETHER: Final = frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
"""Scripts that may be mixed; a letter's script is the first word of its Unicode name."""

_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_IN_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"})
_ENDS_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "EN", "AN"})


def canonical(name: str) -> str:
    """Return the spelling under which an account is stored: case folded, then NFC; 1 to 128 characters.

    `Ada`, `ADA` and `ada` are one account, and so are the composed and the decomposed form of an accent. Letters
    that only look alike stay different. Raises InvalidInput for control and format characters, and for spaces at
    the ends.
    """
    folded = folded_case(valid_text("user", name, shortest=1, longest=NAME_CHARACTERS_MAX))
    if folded != folded.strip():
        raise InvalidInput("user", name, "leave out the spaces at the ends")
    if any(unicodedata.category(character) == "Cf" for character in folded):
        raise InvalidInput("user", name, "leave out invisible characters")
    return valid_text("user", folded, shortest=1, longest=NAME_CHARACTERS_MAX)


def canonical_new(name: str) -> str:
    """Return the canonical spelling for a new account; raises InvalidInput for a name that may be taken for another."""
    folded = named_user(canonical(name))
    if not all(map(_is_allowed, folded)) or "  " in folded:
        raise InvalidInput("user", name, "use letters, digits, printable ASCII, and single spaces between words")
    if unicodedata.normalize("NFKC", folded) != folded:
        raise InvalidInput("user", name, "write out characters that stand for others, such as full-width letters")
    local, _, domain = folded.partition("@")
    if not all(map(_reads_one_way, (*local.split(" "), *domain.split(".")))):
        raise InvalidInput("user", name, "do not mix scripts, digits or directions of writing in one part of the name")
    if not folded.isascii() and skeleton(folded).isascii():
        remedy = f"it looks like {skeleton(folded)!r}; write it so, or with a letter that shows its script"
        raise InvalidInput("user", name, remedy)
    return folded


def folded_case(text: str) -> str:
    """Return the text case-folded for comparison, by Unicode's canonical caseless matching."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _is_allowed(character: str) -> bool:
    if character.isascii():
        return character.isprintable()
    category = unicodedata.category(character)
    is_kind = category in _CATEGORIES or character in _EXCEPTIONS
    return is_kind and character not in REFUSED and not is_recent(character)


def _reads_one_way(part: str) -> bool:
    """Return True if the part is of one script, one set of digits and one direction, and its marks are seen."""
    scripts = {
        unicodedata.name(one, "UNNAMED").split()[0] for one in part if unicodedata.category(one) in ("Ll", "Lu", "Lo")
    }
    zeros = {ord(one) - unicodedata.decimal(one) for one in part if unicodedata.category(one) == "Nd"}
    one_script = len(scripts) <= 1 or scripts <= _WRITTEN_TOGETHER
    return one_script and len(zeros) <= 1 and _has_plain_marks(part) and _is_bidi_label(part)


def _has_plain_marks(part: str) -> bool:
    """Return True if no mark begins the part, or stands on its like, which looks like one of them."""
    marks = pairwise(unicodedata.normalize("NFD", part))
    repeated = any(one == other and unicodedata.category(one) == "Mn" for one, other in marks)
    return not repeated and not unicodedata.category(part[:1] or "a").startswith("M")


def _is_bidi_label(part: str) -> bool:
    """Return True if the part keeps the Bidi Rule of RFC 5893, so that it is not shown in another order than read."""
    kinds = [unicodedata.bidirectional(character) for character in part]
    if _RIGHT_TO_LEFT.isdisjoint(kinds):
        return True
    last = next(kind for kind in reversed(kinds) if kind != "NSM")
    numbers = {"EN", "AN"}.issubset(kinds)
    return (
        kinds[0] in ("R", "AL") and _IN_RIGHT_TO_LEFT.issuperset(kinds) and last in _ENDS_RIGHT_TO_LEFT and not numbers
    )
