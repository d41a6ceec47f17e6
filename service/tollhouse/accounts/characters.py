"""Characters of names: those that no new name has, and those that look like ASCII.

Python's table of characters grows with its version, and the processes of one service may run several. So a new name has
characters of Unicode 14 alone, that of Python 3.11: how these are folded never changes, on no version, and a name
that one process accepts is the same name to all others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import chain
from typing import Final

REFUSED: Final = frozenset(
    map(
        chr,
        chain(
            # Default_Ignorable_Code_Point, so far as it has letters and marks: fillers, joiners, variation selectors
            (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
            range(0x180B, 0x1810),
            range(0xFE00, 0xFE10),
            range(0xE0100, 0xE01F0),
            # the parts of old Hangul syllables, which look like whole ones
            range(0x1100, 0x1200),
            range(0xA960, 0xA980),
            range(0xD7B0, 0xD800),
            # tone marks, repeat marks and fillers that RFC 8264, 9.6, refuses
            (0x0640, 0x07FA, 0x302E, 0x302F, 0x3031, 0x3032, 0x3033, 0x3034, 0x3035, 0x303B),
        ),
    )
)
"""Letters and marks that cannot be seen, or that stand for others."""

_SINCE_UNICODE_14: Final = """
    558 58B-58C 5C8-5C9 88F 897 B53-B54 C5C CDC CF3 ECE 1ACF-1AF0 1C89-1C8A 208F 209D-209F A7CB-A7CF A7D2 A7D4
    A7DA-A7DD A7E2 A7F1 AB6C-AB6D 105C0-105F3 107BB-107BF 10940-10959 10D40-10D65 10D69-10D6D 10D6F-10D85
    10EC2-10EC7 10ECB-10ECF 10ED9-10EEE 10EF0-10EFF 1123F-11241 11380-11389 1138B 1138E 11390-113B5 113B7-113C0
    113C2 113C5 113C7-113CA 113CC-113D3 113E1-113E2 116D0-116E3 11B0A 11B60-11B67 11BC0-11BE0 11BF0-11BF9
    11DB0-11DDB 11DE0-11DE9 11DF0-11DF1 11F00-11F10 11F12-11F3A 11F3E-11F42 11F50-11F5A 1342F 13440-13455
    13460-143FA 16100-16139 16D40-16D6C 16D70-16D79 16EA0-16EB8 16EBB-16ED3 16FF2-16FF3 187F8-187FF 18CD6-18CDA
    18CFF 18D09-18D20 18D80-18DF2 18E00-19191 191A0-191D2 1B123-1B128 1B132 1B155 1B168 1CCF0-1CCF9 1D127-1D128
    1D250-1D252 1D25B-1D25C 1D25F 1D280-1D281 1D6A6 1DF1F-1DF81 1DF90-1DF96 1DFCD-1DFFF 1E030-1E06D 1E08F
    1E4D0-1E4F9 1E5D0-1E5FA 1E6C0-1E6DE 1E6E0-1E6F5 1E6FE-1E6FF 2B739-2B73F 2B81E 2CEA2-2CEAD 2EBF0-2EE5D
    31350-33479 3D000-3FC3F
"""
"""The letters, marks and digits of Unicode 15 to 18, first and last."""

_LOOKS: Final = {
    "!": "01C3 2D51",
    "&": "A778",
    "'": "02B9 02BB 02BC 02BD 02BE 02C8 02CA 02CB 144A 16CC A78C",
    "*": "1031F",
    "+": "1029B",
    ",": "A4F9",
    ".": "06F0 A4F8",
    "2": "14BF",
    "3": "118CA 16F3B",
    "4": "13CE",
    "6": "0431 13EE 118D5",
    "7": "118C6",
    "8": "0223 09EA 0A6A 1031A",
    "9": "09ED 0A67 0B68 0D6D 118CC 118D6",
    ":": "02D0 A4FD",
    "<": "1438 16B2",
    ">": "1433 16F3F",
    "?": "0294 097D 13AE",
    "^": "02C6",
    "a": "0251 03B1 0430 13AA 15C5 A4EE 102A0 16F40",
    "b": "13CF 13F4 1472 15AF 15F7 A4D0 10282 102A1 10301",
    "c": "0441 13DF 1D04 2CA5 A4DA 102A2 10302 1043D 1051C 118E9",
    "d": "0501 13A0 13E7 146F 15DE 15EA A4D2 A4D3",
    "e": "0435 04BD 13AC 2D39 A4F0 AB32 10286",
    "f": "0584 15B4 1E9D A4DD A799 AB35 10287 102A5 10525 118C2",
    "g": "018D 0261 0581 13C0 13F3 1D83 A4D6",
    "h": "04BB 0570 13BB 13C2 157C A4E7 102CF",
    "i": "0131 0269 026A 03B9 0456 04CF 13A5 A647 118C3",
    "j": "03F3 0458 13AB 148D A4D9",
    "k": "13E6 16D5 A4D7 10518",
    "l": "01C0 06F1 13DE 14AA 16C1 2D4F A4E1 A4F2 1028A 10309 10526 16F16 16F28",
    "m": "13B7 15F0 16D6 A4DF 102B0 10311",
    "n": "0578 057C A4E0 10513",
    "o": (
        "03BF 03C3 043E 0585 06F5 0966 09E6 0A66 0AE6 0B20 0B66 0BE6 0C66 0CE6 0D20 0D66 0E50 0ED0 101D 1040 "
        "10FF 12D0 1D0F 1D11 2C9F 2D54 A4F3 AB3D 10292 102AB 1042C 104EA 10516 114D0 118C8 118D7 118E0"
    ),
    "p": "03C1 0440 13E2 146D 2CA3 A4D1 10295",
    "q": "051B 0563 0566 2D55",
    "r": "0433 13A1 13D2 1587 1D26 2C85 A4E3 AB47 AB48 16F35",
    "s": "01BD 0455 13D5 13DA A4E2 A731 10296 10448 118C1 16F3A",
    "t": "13A2 A4D4 10297 102B1 10315 16F0A",
    "u": "028B 03C5 057D 1200 144C 1D1C A4F4 A79F AB4E AB52 104F6 118D8 16F42",
    "v": "03BD 0475 06F7 13D9 142F 1D20 2D38 A4E6 A6DF 1051D 11706 118C0 16F08",
    "w": "026F 0461 051D 0561 13B3 13D4 1D21 A4EA 1170A 1170E 1170F 118E6",
    "x": "0445 1541 157D 16B7 2D5D A4EB 10290 102B4 10317 10527",
    "y": "0263 028F 03B3 0443 04AF 10E7 13A9 13BD 1D8C 1EFF A4EC AB5A 102B2 118DC 16F43",
    "z": "13C3 1D22 A4DC 118C4 118E5",
}
"""Folded characters that look like a character of ASCII, after the confusables of Unicode's UTS 39."""

_RANGES: Final = tuple(
    (int(first, 16), int(last or first, 16))
    for first, _, last in (one.partition("-") for one in _SINCE_UNICODE_14.split())
)
_STARTS: Final = tuple(first for first, _ in _RANGES)
_LOOK_ALIKES: Final[Mapping[int, str]] = {
    int(code, 16): character for character, codes in _LOOKS.items() for code in codes.split()
}


def is_recent(character: str) -> bool:
    """Return True if the character is a letter, mark or digit that Unicode 14 does not have."""
    at = bisect_right(_STARTS, ord(character)) - 1
    return at >= 0 and ord(character) <= _RANGES[at][1]


def skeleton(text: str) -> str:
    """Return a folded text with characters of ASCII in place of those that look like them."""
    return text.translate(_LOOK_ALIKES)
