"""Names of accounts: what a new one may consist of, and that those of before are still found."""

from __future__ import annotations

import unicodedata

import pytest

from tests.accounts import RIGHT, Setup, record
from tollhouse.accounts.characters import is_recent, skeleton
from tollhouse.accounts.names import canonical, canonical_new
from tollhouse.accounts.outcomes import LoginSucceeded
from tollhouse.errors import InvalidInput
from tollhouse.keys import UNNAMED

#    the name, its spelling
ACCEPTED = [
    ("Ada", "ada"),
    ("ada.lovelace+news@Example.com", "ada.lovelace+news@example.com"),
    ("Ada Lovelace", "ada lovelace"),
    ("o'neil_42 (work)", "o'neil_42 (work)"),
    ("Zo\u00eb", "zo\u00eb"),
    ("Stra\u00dfe", "strasse"),
    ("\u0418\u0432\u0430\u043d", "\u0438\u0432\u0430\u043d"),  # Ivan
    ("\u0438\u0432\u0430\u043d@example.com", "\u0438\u0432\u0430\u043d@example.com"),
    ("\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.com",) * 2,
    ("\u5c71\u7530\u592a\u90ce taro",) * 2,
    ("\u3072\u3089\u304c\u306a\u30ab\u30bf\u30ab\u30ca\u5c71ab",) * 2,  # Hiragana, Katakana, Han and Latin
    ("\uae40\ucca0\uc218",) * 2,
    ("\u0639\u0644\u064a7",) * 2,  # Ali 7
    ("\u05d3\u05d5\u05d3",) * 2,  # David
    ("\u0e01\u0e34\u0e15\u0e15\u0e34",) * 2,
    ("Nguy\u1ec5n", "nguy\u1ec5n"),
    ("\u0131\u015f\u0131k",) * 2,  # Turkish: the cedilla shows that the dotless letters are meant
    ("\u0441\u0430\u0440\u0430 \u0438\u0432\u0430\u043d\u043e\u0432\u0430",) * 2,  # Sara Ivanova
    ("\u03c3\u03bf\u03c6\u03af\u03b1",) * 2,  # Sofia
    ("\U00017000",) * 2,  # a Tangut ideograph, which Unicode names by a rule
    ("\u3007",) * 2,  # the ideographic zero, an exception of RFC 8264
]

#    what is wrong, the name
REFUSED = [
    ("a filler of Hangul, which is a letter", "a\u3164b"),
    ("a half-width filler", "a\uffa0b"),
    ("a combining grapheme joiner", "a\u034fb"),
    ("a variation selector", "a\ufe0fb"),
    ("a variation selector of plane 14", "a\U000e0101b"),
    ("a Mongolian variation selector", "a\u180bb"),
    ("a soft hyphen", "a\u00adb"),
    ("a zero-width space", "a\u200bb"),
    ("a right-to-left override", "a\u202eb"),
    ("an isolate", "a\u2066b"),
    ("a byte order mark", "a\ufeffb"),
    ("the blank of Braille", "a\u2800b"),
    ("an unassigned character", "a\u0378b"),
    ("a noncharacter", "a\ufdd0b"),
    ("a character for private use", "a\ue000b"),
    ("a no-break space", "a\u00a0b"),
    ("an ideographic space", "a\u3000b"),
    ("two spaces", "a  b"),
    ("a symbol", "a\u2603b"),
    ("a dash that is no hyphen", "a\u2011b"),
    ("full-width letters", "\uff41\uff44\uff41"),
    ("a superscript", "a\u00b2"),
    ("a mathematical letter", "\U0001d41ada"),
    ("a fraction slash", "1\u20442"),
    ("a Cyrillic letter among Latin ones", "\u0430da"),
    ("a Greek letter among Latin ones", "ad\u03b1"),
    ("a Cherokee letter among Latin ones", "\u13aada"),
    ("a Latin letter in a Cyrillic domain", "ada@\u043f\u0440\u0438\u043ce\u0440.com"),
    ("digits of two scripts", "\u0661\u06f1"),
    ("right-to-left letters after Latin ones", "ada\u05d3"),
    ("right-to-left letters before Latin ones", "\u05d3ada"),
    ("Arabic digits among others", "\u06271\u0661"),
    ("a right-to-left name that ends in a full stop", "\u05d3\u05d5!"),
    ("a digit before right-to-left letters", "1\u05d3"),
    ("a mark that has no letter", "\u0301ada"),
    ("a mark after a space", "ada \u0301"),
    ("a mark twice", "a\u0301\u0301da"),
    ("a part of an old Hangul syllable", "\u1100"),
    ("Cyrillic letters that look like Latin ones", "\u0440\u0430\u0443\u0440\u0430"),
    ("a Cyrillic name before a Latin domain", "\u0441\u0430\u0440\u0430@example.com"),
    ("Greek letters that look like Latin ones", "\u03bf\u03c1\u03bf"),
    ("Armenian letters that look like Latin ones", "\u0578\u0585\u0578"),
    ("Cherokee letters that look like Latin ones", "\u13aa\u13d9\u13aa"),
    ("a Latin letter that looks like another", "p\u0251ypal"),
    ("a dotless i", "adm\u0131n"),
    ("a click that looks like an exclamation mark", "ada\u01c3"),
    ("a Devanagari digit that looks like a letter", "\u0966"),
    ("a letter of Unicode 15", "\U0001e4d0"),
    ("an ideograph of Unicode 15", "\U00031350"),
    ("an ideograph of Unicode 15.1", "\U0002ebf0"),
    ("a letter of Unicode 16", "\U00010d4a"),
    ("a letter stretcher", "\u0639\u0640\u0644"),
]


@pytest.mark.parametrize(("name", "spelling"), ACCEPTED, ids=[ascii(row[0]) for row in ACCEPTED])
def test_a_new_name_is_of_letters_digits_and_ascii(name, spelling):
    """Names of one script each, in any script, and addresses are accepted, and folded once and for all."""
    assert canonical_new(name) == spelling
    assert canonical_new(spelling) == spelling
    assert canonical(name) == spelling


@pytest.mark.parametrize("name", [name for _, name in REFUSED], ids=[what for what, _ in REFUSED])
def test_a_new_name_cannot_be_taken_for_another(name):
    """What is invisible, stands for another character, or mixes scripts is refused, with a remedy."""
    with pytest.raises(InvalidInput) as refused:
        canonical_new(name)

    assert refused.value.field == "user"


def test_no_kind_of_blank_is_in_a_new_name():
    """Of the basic plane only letters, marks, digits and the exceptions of RFC 8264 are accepted, besides ASCII."""
    accepted = {spelling for code in range(0x80, 0x10000) if (spelling := accepted_after("a", chr(code))) is not None}

    categories = {unicodedata.category(one) for one in "".join(accepted) if not one.isascii()}
    assert categories == {"Ll", "Lo", "Lm", "Mn", "Mc", "Nd", "Nl", "Po"}
    assert len(accepted) > 20_000


#    Default_Ignorable_Code_Point of Unicode 14, first and last
IGNORABLE = """
    00AD-00AD 034F-034F 061C-061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164-3164 FE00-FE0F
    FEFF-FEFF FFA0-FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF
"""


def test_nothing_that_is_shown_as_nothing_is_in_a_new_name():
    """Default_Ignorable_Code_Point, which Python does not know, is refused whole."""
    ranges = [(int(first, 16), int(last, 16)) for first, last in (one.split("-") for one in IGNORABLE.split())]
    ignorable = [chr(code) for first, last in ranges for code in range(first, last + 1)]

    assert [ascii(one) for one in ignorable if accepted_after("a", one) is not None] == []
    assert [ascii(one) for one in ignorable if accepted_after("\uac00", one) is not None] == []


def test_every_version_of_python_has_the_same_new_names():
    """What a later Unicode adds is refused on every version: another process may fold it to another name."""
    recent = [chr(code) for code in range(0x80, 0x110000) if is_recent(chr(code))]

    assert len(recent) > 26_000
    assert [ascii(one) for one in recent if accepted_after("", one) is not None] == []
    if unicodedata.unidata_version == "14.0.0":
        assert {unicodedata.category(one) for one in recent} == {"Cn"}


def test_no_name_of_ascii_has_a_look_alike():
    """A name that reads as another one of ASCII is refused, and no name of ASCII is."""
    ascii_name = "".join(chr(code) for code in range(0x21, 0x7F))

    assert skeleton(ascii_name) == ascii_name
    assert canonical_new("paypal.support-1@example.com") == "paypal.support-1@example.com"


def accepted_after(first, character):
    """Return the spelling of a name of two characters, without the first; None if it is refused."""
    try:
        return canonical_new(first + character)[len(first) :]
    except InvalidInput:
        return None


#    names that accounts may have had before new ones were held to these rules
OLD_NAMES = [
    *("a\u2800b", "\uff41\uff44\uff41", "\u0430da", "ada  lovelace", "a\u3164b", "a\ue000b", "\u2603"),
    *("\u0441\u0430\u0440\u0430", "\U00031350"),  # Sara; an ideograph of Unicode 15
]


@pytest.mark.parametrize("name", OLD_NAMES, ids=ascii)
async def test_an_account_of_before_logs_in(world, name):
    """An account whose name would be refused today is found under the same key, and no second one can be made."""
    setup = Setup(world)
    stored = await setup.passwords.hash(RIGHT.encode())
    key = UNNAMED.account(world.keyring.digest("account", name))
    await world.stores.accounts.run("accounts/create", [key], record(name, stored.phc, stored.key_id))

    assert isinstance(await setup.login(name), LoginSucceeded)
    with pytest.raises(InvalidInput):
        await setup.sign_up(name)
