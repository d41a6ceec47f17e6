"""An event of a session, the kinds that there are, and the ids by which a reader goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

KINDS: Final[Mapping[str, str]] = {
    "created": "a session began",
    "impersonated": "a session began in which an administrator, the `actor`, acts as the user",
    "impersonation-ended": "the administrator who acted in it stopped, or was logged out",
    "rotated": "its secret was replaced, as for a login of a higher level; the former one opens nothing",
    "stepped-up": "its user was authenticated anew, which opens a locked one; the former secret opens nothing",
    "renewed": "its secret was replaced because of its age",
    "revoked": "its user ended it from another session",
    "logged-out": "its client logged out",
    "replaced": "a later login of the same client ended it",
    "revoked-by-admin": "an administrator ended it",
    "revoked-all": "all sessions of the user ended; `sid` is the one that was kept, if any",
    "everyone": "all sessions of all users ended; each of the 256 streams has one, without a user",
    "evicted": "it was ended to make room for a login at the cap",
    "expired": "it was used after its end by time, which was noted then; most ends by time have no event",
    "reused": "it was ended because a former secret was presented after its grace: perhaps it was stolen",
    "disabled": "the user was disabled, and all sessions of the user ended",
    "enabled": "the user may log in again",
    "password-changed": "the password of the user's account was changed; tell the user",
    "account-deleted": "the user's account was deleted",
    "totp-added": "the user added one-time passwords as a second factor; `sid` is the session in which that was",
    "totp-removed": "the user removed that factor, and the recovery codes with it",
    "recovery-codes-made": "the user has new recovery codes, and the former ones are void",
    "recovery-code-used": "a login was finished with a recovery code: tell the user, who may not have done it",
    "passkey-added": "the user has a new passkey, which logs in alone; `sid` is the session in which it was added",
    "passkey-removed": "the user removed a passkey, which opens nothing any more",
}
"""What each kind of event says; every kind that a script writes is here."""

_ID: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,18})-([0-9a-f]{2})")
_KIND: Final = re.compile(r"[a-z-]{1,32}")
_AT_MS_DIGITS: Final = 15


class SessionEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of a session, or of all sessions of a user: then `sid` is None, or that of the one that was kept.

    One about all users has no `user`. That an impersonation began has the `actor`, the user who acts, and the `reason`.
    `at` is in milliseconds of the server's clock. A kind that `KINDS` lacks is of a later version.
    """

    id: str
    at: int
    kind: str
    user: str | None
    sid: str | None
    actor: str | None = None
    reason: str | None = None


class EventId(Struct, frozen=True, order=True, kw_only=True):
    """The place of an event: its time, its number within the millisecond, and the hash tag of its stream."""

    ms: int
    sequence: int = 0
    tag: str = "00"

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}-{self.tag}"


def parse_id(text: str) -> EventId | None:
    """Return an event's id; None if the text is none."""
    found = _ID.fullmatch(text)
    return None if found is None else EventId(ms=int(found[1]), sequence=int(found[2]), tag=found[3])


def read_event(tag: str, row: Sequence[bytes]) -> tuple[EventId, SessionEvent | None]:
    """Return an event of a stream and its id; None for the event if our scripts did not write it."""
    stream_id, at, *texts = row
    ms, _, sequence = stream_id.partition(b"-")
    place = EventId(ms=int(ms), sequence=int(sequence), tag=tag)
    try:
        kind, user, sid, actor, reason = (text.decode() for text in texts)
    except UnicodeDecodeError:
        return place, None
    if not (at.isdigit() and len(at) <= _AT_MS_DIGITS and _KIND.fullmatch(kind) and (user or kind == "everyone")):
        return place, None
    who = {"actor": actor or None, "reason": reason or None}
    return place, SessionEvent(id=str(place), at=int(at), kind=kind, user=user or None, sid=sid or None, **who)
