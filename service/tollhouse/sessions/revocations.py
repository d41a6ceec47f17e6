"""Revocations as values: the script call that makes or repeats each one, and the format of its announcement.

An announcement has the fields of the event that the same script writes: the user, a session's public id, and the
digest of the user in key names. It has no token and no secret, and at most `ANNOUNCEMENT_BYTES_MAX` bytes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from tollhouse.keys import Namespace
from tollhouse.scripts import Argument
from tollhouse.sessions.policies import CAP_MAX, LIFETIME_MS_MAX
from tollhouse.sessions.user_keys import UserKeys
from tollhouse.sessions.validation import USER_CHARACTERS_MAX

ANNOUNCEMENT_BYTES_MAX: Final = 2048
"""Longer payloads are no announcements: a user takes at most 1024 bytes, the rest 200."""

Call = tuple[str, tuple[str, ...], tuple[Argument, ...]]
"""A script with its keys and arguments."""

Cause = Literal["revoked", "logged-out", "replaced", "revoked-by-admin", "reused", "impersonation-ended"]
"""Why one session is ended: from another one of its user, by itself, by a login that presented it, by an
administrator, because its former secret was presented too late, or because who impersonated its user stopped."""
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)
CauseOfAll = Literal["revoked-all", "revoked-by-admin", "disabled"]
"""Why all sessions of a user are ended: by the user, by an administrator, or because the user was disabled."""
CAUSES_OF_ALL: Final[tuple[CauseOfAll, ...]] = get_args(CauseOfAll)

_Sid = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}\Z")]
_KeptSid = Annotated[str, Meta(pattern=r"^([a-z2-7]{26})?\Z")]
_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Shard = Annotated[str, Meta(pattern=r"^[0-9a-f]{2}\Z")]
_User = Annotated[str, Meta(min_length=1, max_length=USER_CHARACTERS_MAX)]
_AT_MS_DIGITS: Final = 15
UNSETTLED_MS: Final = 120_000
"""For so long a failover may lose a revocation, or a server that goes on run a call that it did not answer.

The process remembers a revocation for as long, and one of all sessions ends those that are created a second time.
"""


class SessionRevoked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="one"):
    """One session of a user was revoked."""

    user: _User
    digest: _Digest
    sid: _Sid

    def call(self, namespace: Namespace, kind: Cause = "revoked") -> Call:
        """Return the call that ends it, with the kind of its event; if it is over already, the call writes nothing."""
        own = UserKeys(namespace=namespace, digest=self.digest)
        names = (own.record(self.sid), own.index, own.events, own.memo(self.sid), own.epoch)
        return "sessions/revoke", names, (self.sid, self.user, namespace.session_revocations, announcement(self), kind)


class AllSessionsRevoked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="all", omit_defaults=True):
    """All sessions of a user under one secret were revoked, except `keep`; `epoch_ms` is 0 until the first run.

    The epoch is the server's time of the call, and every session stores the epoch in which it began. On replay:

    - The epoch of the primary is at least `epoch_ms`: it has seen this call or a later one. Nothing is written, and
      logins since then live.
    - The epoch is lower: the primary lost the call. Its epoch is raised to `epoch_ms`. Sessions created there in the
      meantime, by a process that did not know of the call, have the lower epoch; they live only if their creation
      time is after `epoch_ms`.

    That is the only comparison of two servers' clocks, and it errs towards ending a session: if the clock of the new
    primary is behind, a login there may be ended, and the user logs in again. A session that existed at the time of
    the call survives only if the old primary's clock stepped back between its login and the call; if a server runs the
    first attempt of that login after the call: the process that made the call knows those sessions by their sid; or if
    another process had made it on the new primary already, whose clock is ahead by more than the time in between. The
    last needs a call that was not durable.
    """

    user: _User
    digest: _Digest
    name: _Sid
    keep: _KeptSid
    epoch_ms: int = 0

    def call(
        self, namespace: Namespace, why: CauseOfAll = "revoked-all", *, skip: int = 0, part: int = 2 * CAP_MAX
    ) -> Call:
        """Return the call that ends them and removes the records of `part` members of the index, from `skip` on.

        Without `skip` and `part` it removes all: a user has at most `CAP_MAX` sessions, and as many impersonations.
        """
        own = UserKeys(namespace=namespace, digest=self.digest)
        subject = (self.user, self.name, self.keep, own.record(), LIFETIME_MS_MAX)
        names = (own.index, own.epoch, own.events, own.record(self.keep))
        channel = (namespace.session_revocations, announcement(self))
        return "sessions/revoke_all", names, (*subject, skip, part, self.epoch_ms, *channel, UNSETTLED_MS, why)

    def covers(self, sid: str, began_ms: int, created_at: int) -> bool:
        """Return True if a session of the user, created at `created_at` in the epoch `began_ms`, is among them."""
        return sid != self.keep and began_ms < self.epoch_ms and created_at <= self.epoch_ms


class UserStatus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="status", omit_defaults=True):
    """A user was disabled or enabled under one secret; `epoch_ms` is 0 until the first run, then the time of that.

    The latest holds. On replay a primary that has seen this one or a later one writes nothing. Sessions that a disabled
    user had are ended by the revocation of all of them, which follows.
    """

    user: _User
    digest: _Digest
    name: _Sid
    disabled: bool
    epoch_ms: int = 0

    def call(self, namespace: Namespace) -> Call:
        """Return the call that disables or enables the user."""
        own = UserKeys(namespace=namespace, digest=self.digest)
        subject = (self.user, self.name, int(self.disabled), LIFETIME_MS_MAX, self.epoch_ms)
        channel = (namespace.session_revocations, announcement(self))
        return "sessions/set_disabled", (own.epoch, own.events), (*subject, *channel)


class EveryoneRevoked(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="everyone", omit_defaults=True
):
    """All sessions of all users of one hash tag were revoked; `epoch_ms` is 0 until the first run.

    On replay an epoch that is as high stays. A lower one is raised, and that also ends sessions that began there since
    the failover, by processes that did not know of the call: they cannot be told apart without reading every record.
    """

    shard: _Shard
    name: _Sid
    epoch_ms: int = 0

    def call(self, namespace: Namespace) -> Call:
        """Return the call that ends them."""
        names = (namespace.global_epoch(self.shard), namespace.session_events(self.shard))
        channel = (namespace.session_revocations, announcement(self))
        return "sessions/revoke_everyone", names, (self.name, self.epoch_ms, *channel)


Revocation = SessionRevoked | AllSessionsRevoked | EveryoneRevoked | UserStatus

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Revocation)


def announcement(revocation: Revocation) -> str:
    """Return the text of an announcement; the script prefixes the time, which for a revoke-all is the epoch."""
    if not isinstance(revocation, SessionRevoked):
        revocation = msgspec.structs.replace(revocation, epoch_ms=0)
    return _ENCODER.encode(revocation).decode()


def read_announcement(payload: bytes) -> Revocation | None:
    """Return the announced revocation; None if the payload was not written by our scripts."""
    at_ms, _, text = payload.partition(b" ")
    if len(payload) > ANNOUNCEMENT_BYTES_MAX or not at_ms.isdigit() or len(at_ms) > _AT_MS_DIGITS:
        return None
    try:
        revocation = _DECODER.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    if isinstance(revocation, SessionRevoked):
        return revocation
    return msgspec.structs.replace(revocation, epoch_ms=int(at_ms))
