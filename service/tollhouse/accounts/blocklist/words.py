"""Words that passwords are made of: a few that count nothing in any number, and a list of common passwords.

The list is unpacked at first use; `data/LICENSES` says where it comes from.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from tollhouse.accounts.blocklist.folding import plain

ENTRY_CHARACTERS_MIN: Final = 3
ENTRY_CHARACTERS_MAX: Final = 20
DATA: Final = Path(__file__).parent / "data"

_WELL_KNOWN: Final = """
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

WordsByStart = Mapping[str, tuple[str, ...]]


def by_start(words: Iterable[str]) -> WordsByStart:
    """Return the folded spellings of words by their first character."""
    grouped: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for word in dict.fromkeys(map(plain, words)):
        if word:
            grouped[word[0]] += (word,)
    return grouped


@cache
def ranked_passwords() -> tuple[str, ...]:
    """Return the folded spellings of common passwords, the most frequent first."""
    return tuple(zlib.decompress((DATA / "common.txt.zlib").read_bytes()).decode().split("\n"))


@cache
def common_passwords() -> frozenset[str]:
    """Return the common passwords for look-ups; they take 5 MB in each process that checks one."""
    return frozenset(ranked_passwords())


WELL_KNOWN: Final = by_start(_WELL_KNOWN.split())
