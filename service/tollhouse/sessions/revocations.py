"""What ended sessions: the script call that does it, also once more, and the words in which it is announced.

An announcement carries what the event of the same script holds: the user, a session's public id, and the digest
that stands for the user in key names. No token, no secret, at most `ANNOUNCED_BYTES_MAX` bytes.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tollhouse import keys
from tollhouse.scripts import Argument
from tollhouse.sessions.policies import LIFETIME_MS_MAX
from tollhouse.sessions.user_keys import Home
from tollhouse.sessions.validation import USER_CHARACTERS_MAX

ANNOUNCED_BYTES_MAX: Final = 2048
"""Longer announcements are not ours: a user takes at most 1024 bytes, the rest 200."""

Call = tuple[str, tuple[str, ...], tuple[Argument, ...]]
"""A script with its keys and arguments."""

_Sid = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}\Z")]
_KeptSid = Annotated[str, Meta(pattern=r"^([a-z2-7]{26})?\Z")]
_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
_User = Annotated[str, Meta(min_length=1, max_length=USER_CHARACTERS_MAX)]
_AT_MS_DIGITS: Final = 15


class Ended(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="one"):
    """One session of a user is over."""

    user: _User
    digest: _Digest
    sid: _Sid

    def call(self) -> Call:
        """Give the call that ends it; where it is over already, nothing is written."""
        home = Home(tag=self.digest[:2], digest=self.digest)
        names = (home.record(self.sid), home.index, home.events)
        return "sessions/revoke", names, (self.sid, self.user, keys.session_revocations(), notice(self))


class EndedAll(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="all", omit_defaults=True):
    """All sessions that a user had under one secret are over, but `keep`; the epoch is 0 until the first run.

    Epochs are compared with epochs, never with the clock of another server. A primary on which the epoch stands at
    least as high has seen this call or a later one: there it is not repeated, and whoever logged in since lives. Only
    where the epoch is lower, thus where the call was lost, it is raised to the same height. Sessions that began there
    in the meantime, through a process that did not know, carry the lower epoch, and live if they began later than the
    epoch says. That is the one comparison of two servers' times: a clock that is behind by more than the failover
    took ends such a login, which is then to be repeated. No clock lets a session live that was there when the call
    was made, unless the old primary's stepped back between its login and the call.
    """

    user: _User
    digest: _Digest
    name: _Sid
    keep: _KeptSid
    epoch_ms: int = 0

    def call(self, *, skip: int, part: int) -> Call:
        """Give the call that ends them, and looks at `part` members of the index from `skip` on."""
        home = Home(tag=self.digest[:2], digest=self.digest)
        who = (self.user, self.name, self.keep, home.record(), LIFETIME_MS_MAX)
        announced = (keys.session_revocations(), notice(self))
        names = (home.index, home.epoch, home.events)
        return "sessions/revoke_all", names, (*who, skip, part, self.epoch_ms, *announced)

    def ends(self, sid: str, began_ms: int, created_at: int) -> bool:
        """Tell whether a session of the user, created at that time within that epoch, is among them."""
        return sid != self.keep and began_ms < self.epoch_ms and created_at <= self.epoch_ms


Revocation = Ended | EndedAll

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Revocation)


def notice(revocation: Revocation) -> str:
    """Write what is announced; the script puts the time before it, which for `EndedAll` is the epoch."""
    if isinstance(revocation, EndedAll):
        revocation = msgspec.structs.replace(revocation, epoch_ms=0)
    return _ENCODER.encode(revocation).decode()


def announced(payload: bytes) -> Revocation | None:
    """Read an announcement; None for what none of our scripts wrote."""
    at_ms, _, text = payload.partition(b" ")
    if len(payload) > ANNOUNCED_BYTES_MAX or not at_ms.isdigit() or len(at_ms) > _AT_MS_DIGITS:
        return None
    try:
        revocation = _DECODER.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    if isinstance(revocation, EndedAll):
        return msgspec.structs.replace(revocation, epoch_ms=int(at_ms))
    return revocation
