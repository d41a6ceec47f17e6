"""Where the sessions of a user live: the names of their keys, which all share one tag."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tollhouse import keys
from tollhouse.keyring import Keyring

_USER_LABEL: Final = "session-user"


class Home(Struct, frozen=True, kw_only=True):
    """The keys of one user under one secret; an empty digest gives what those of a whole tag begin with."""

    tag: str
    digest: str = ""

    def record(self, sid: str = "") -> str:
        """Name the record of a session; without a sid, what all records here begin with."""
        return keys.session(self.tag, sid)

    @property
    def index(self) -> str:
        """The user's sessions, scored by their end."""
        return keys.user_sessions(self.tag, self.digest)

    @property
    def epoch(self) -> str:
        """Before when the user's sessions are over, and whether the user is disabled."""
        return keys.user_epoch(self.tag, self.digest)

    @property
    def everyone(self) -> str:
        """Before when everybody's sessions are over."""
        return keys.global_epoch(self.tag)

    @property
    def events(self) -> str:
        """The stream of what happened to sessions."""
        return keys.session_events(self.tag)


def of_user(keyring: Keyring, user: str) -> tuple[Home, ...]:
    """Give the homes of a user under every secret; new sessions live in the first."""
    return tuple(Home(tag=digest[:2], digest=digest) for digest in keyring.digests(_USER_LABEL, user))
