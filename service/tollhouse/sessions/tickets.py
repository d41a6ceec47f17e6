"""Tickets: what a client gets instead of a session if its user has to end another one first.

A ticket is `t1.<key id>.<user digest>.<secret>`, a bearer secret as a session token is: it has the same parts, but for
the sid, and the store has an HMAC of its secret (256 random bits), under a key of its own. A user has one at a time.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from msgspec import Struct

from tollhouse.errors import require_type
from tollhouse.keyring import Keyring
from tollhouse.sessions.tokens import RandomBytes, new_secret

LIFE_MS: Final = 300_000
"""For so long a ticket is good."""

_KEY_LABEL: Final = "session-ticket"
_VERIFIER_BYTES: Final = 24
# The last character carries fewer bits than the others: one ticket has one spelling.
_TICKET: Final = re.compile(r"t1\.([0-9a-f]{8})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])")


class Ticket(Struct, frozen=True, kw_only=True):
    """A well-formed ticket; only `reveal` shows its secret."""

    key_id: str
    digest: str
    secret: str

    def reveal(self) -> str:
        """Return the ticket as text, for the client and nothing else."""
        return f"t1.{self.key_id}.{self.digest}.{self.secret}"

    def __repr__(self) -> str:
        return f"Ticket(t1.{self.key_id}.<user>.<hidden>)"


def issue(keyring: Keyring, digest: str, random_bytes: RandomBytes) -> Ticket:
    """Return a new ticket under the newest secret, which the digest is of, too."""
    return Ticket(key_id=keyring.key_ids()[0], digest=digest, secret=new_secret(random_bytes))


def parse(text: str) -> Ticket | None:
    """Return the ticket in a text that a client sent; None if it is not exactly one, InvalidInput if it is no text."""
    require_type("ticket", text, str, "give the ticket as text, as the refusal of the login had it")
    match = _TICKET.fullmatch(text)
    if match is None:
        return None
    key_id, digest, secret = match.groups()
    return Ticket(key_id=key_id, digest=digest, secret=secret)


def verifier(keyring: Keyring, ticket: Ticket) -> str | None:
    """Return the stored verifier of a ticket; None if its deployment secret is no longer configured."""
    key = keyring.key(_KEY_LABEL, ticket.key_id)
    if key is None:
        return None
    return hmac.digest(key, (ticket.digest + ticket.secret).encode(), "sha256")[:_VERIFIER_BYTES].hex()
