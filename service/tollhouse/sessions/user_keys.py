"""The key names of one user's sessions; all of them have the same hash tag."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tollhouse import keys
from tollhouse.keyring import Keyring

_USER_LABEL: Final = "session-user"


class UserKeys(Struct, frozen=True, kw_only=True):
    """The keys of one user under one secret; with an empty digest, the prefixes of the keys of a whole tag."""

    tag: str
    digest: str = ""

    def record(self, sid: str = "") -> str:
        """Return the key of a session's record; without a sid, the prefix of all records of the tag."""
        return keys.session(self.tag, sid)

    @property
    def index(self) -> str:
        """The key of the sorted set of the user's sessions, scored by expiry."""
        return keys.user_sessions(self.tag, self.digest)

    @property
    def epoch(self) -> str:
        """The key of the user's revocation epoch and disabled flag."""
        return keys.user_epoch(self.tag, self.digest)

    @property
    def global_epoch(self) -> str:
        """The key of the epoch before which every user's sessions are revoked."""
        return keys.global_epoch(self.tag)

    @property
    def events(self) -> str:
        """The key of the stream of session events."""
        return keys.session_events(self.tag)


def user_keys(keyring: Keyring, user: str) -> tuple[UserKeys, ...]:
    """Return a user's keys under every secret, the newest first; new sessions use the first."""
    return tuple(UserKeys(tag=digest[:2], digest=digest) for digest in keyring.digests(_USER_LABEL, user))
