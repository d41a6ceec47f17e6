"""The key names of one user's sessions; all of them have the same hash tag."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace

_USER_LABEL: Final = "session-user"
TAG_CHARACTERS: Final = 2
"""So many digits of a digest are the hash tag: sessions are spread over 256."""


def all_tags() -> tuple[str, ...]:
    """Return every hash tag that a user's keys can have."""
    return tuple(f"{number:0{TAG_CHARACTERS}x}" for number in range(16**TAG_CHARACTERS))


class UserKeys(Struct, frozen=True, kw_only=True):
    """The keys of one user under one secret."""

    namespace: Namespace
    digest: str

    @property
    def tag(self) -> str:
        """The hash tag of the keys."""
        return self.digest[:TAG_CHARACTERS]

    def record(self, sid: str = "") -> str:
        """Return the key of a session's record; without a sid, the prefix of all records of the tag."""
        return self.namespace.session(self.tag, sid)

    def memo(self, sid: str) -> str:
        """Return the key of what stays of a session for 24 hours after its end."""
        return self.namespace.session_memo(self.tag, sid)

    @property
    def index(self) -> str:
        """The key of the sorted set of the user's sessions, scored by expiry."""
        return self.namespace.user_sessions(self.tag, self.digest)

    @property
    def ticket(self) -> str:
        """The key of the login that waits until the user ended a session."""
        return self.namespace.session_ticket(self.tag, self.digest)

    @property
    def epoch(self) -> str:
        """The key of the user's revocation epoch and disabled flag."""
        return self.namespace.user_epoch(self.tag, self.digest)

    @property
    def global_epoch(self) -> str:
        """The key of the epoch before which every user's sessions are revoked."""
        return self.namespace.global_epoch(self.tag)

    @property
    def events(self) -> str:
        """The key of the stream of session events."""
        return self.namespace.session_events(self.tag)

    def read_names(self, sid: str) -> tuple[str, str, str]:
        """Return the keys of a script that only reads a session: its record and the epochs."""
        namespace, tag, digest = self.namespace, self.tag, self.digest
        return namespace.session(tag, sid), namespace.user_epoch(tag, digest), namespace.global_epoch(tag)


def user_keys(namespace: Namespace, keyring: Keyring, user: str) -> tuple[UserKeys, ...]:
    """Return a user's keys under every secret, the newest first; new sessions use the first."""
    digests = keyring.digests(_USER_LABEL, user)
    return tuple(UserKeys(namespace=namespace, digest=digest) for digest in digests)
