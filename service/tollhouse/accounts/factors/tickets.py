"""Tickets of logins in two steps: the password was right, and the second factor is to follow within five minutes.

A ticket is `s1.<key id>.<secret>`, a bearer secret with 256 random bits. The store has the login under a keyed digest
of it, so a ticket names one login, and the store alone opens none. It is good for one session and for five attempts,
each charged before the code is compared, so that parallel guesses count like guesses in a row.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.errors import require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.scripts import ScriptRunner
from tollhouse.sessions.tokens import RandomBytes, new_secret

LIFE_MS: Final = 300_000
"""For so long a ticket is good."""
ATTEMPTS: Final = 5
"""So many codes may be tried with one ticket."""

_KEY_LABEL: Final = "login-ticket"
_DIGEST_BYTES: Final = 24
# The last character carries fewer bits than the others: one ticket has one spelling.
_TICKET: Final = re.compile(r"s1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])")


class LoginTicket(Struct, frozen=True, kw_only=True):
    """A well-formed ticket; only `reveal` shows its secret."""

    key_id: str
    secret: str

    def reveal(self) -> str:
        """Return the ticket as text, for the client and nothing else."""
        return f"s1.{self.key_id}.{self.secret}"

    def __repr__(self) -> str:
        return f"LoginTicket(s1.{self.key_id}.<hidden>)"


class HeldLogin(Struct, frozen=True, kw_only=True):
    """A login whose password was right, as its client asked for it.

    `epoch` is that of the credentials: after a change of the password the ticket opens nothing.
    """

    user: str
    epoch: str
    policy: str
    device: str | None
    carry: bool


class HeldTicket(Struct, frozen=True, kw_only=True):
    """A new ticket, and the time in ms since 1970 at which it ends."""

    ticket: LoginTicket
    expires_at: int


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(HeldLogin)


def parse_ticket(text: str) -> LoginTicket | None:
    """Return the ticket in a text that a client sent; None if it is not exactly one, InvalidInput if it is no text."""
    require_type("ticket", text, str, "give the ticket as text, as the answer to the password had it")
    match = _TICKET.fullmatch(text)
    return None if match is None else LoginTicket(key_id=match[1], secret=match[2])


class LoginTickets:
    """Keeps logins under tickets; a ticket that is malformed, over or spent opens nothing."""

    def __init__(
        self,
        store: ScriptRunner,
        keyring: Keyring,
        namespace: Namespace,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._namespace = namespace
        self._random_bytes = random_bytes

    async def hold(self, login: HeldLogin) -> HeldTicket:
        """Keep a login under a new ticket."""
        ticket = LoginTicket(key_id=self._keyring.key_ids()[0], secret=new_secret(self._random_bytes))
        key = self._key(ticket)
        assert key is not None, "the ticket was made under a secret that the keyring lacks"
        (end_ms,) = await self._store.run("accounts/hold_login", (key,), (_ENCODER.encode(login), LIFE_MS))
        return HeldTicket(ticket=ticket, expires_at=end_ms)

    async def find(self, ticket: LoginTicket | str) -> HeldLogin | None:
        """Return the login of a ticket that has attempts left, and charge none; None if the ticket opens nothing."""
        key = self._key(ticket)
        return None if key is None else _login(await self._store.run("accounts/find_login", (key,), (ATTEMPTS,)))

    async def attempt(self, ticket: LoginTicket | str) -> HeldLogin | None:
        """Charge an attempt, and return the login of a ticket; None if it opens nothing (any more)."""
        key = self._key(ticket)
        return None if key is None else _login(await self._store.run("accounts/try_login", (key,), (ATTEMPTS,)))

    async def use_up(self, ticket: LoginTicket | str) -> bool:
        """End a ticket whose code was right; return False if another request has spent it."""
        key = self._key(ticket)
        if key is None:
            return False
        (spent,) = await self._store.run("accounts/spend_login", (key,), ())
        return spent == 1

    def _key(self, ticket: LoginTicket | str) -> str | None:
        """Return the key of a ticket's login; None if it is malformed, or of a secret that is gone."""
        shown = ticket if isinstance(ticket, LoginTicket) else parse_ticket(ticket)
        key = None if shown is None else self._keyring.key(_KEY_LABEL, shown.key_id)
        if shown is None or key is None:
            return None
        return self._namespace.login_ticket(hmac.digest(key, shown.secret.encode(), "sha256")[:_DIGEST_BYTES].hex())


def _login(reply: list[bytes]) -> HeldLogin | None:
    return _DECODER.decode(reply[0]) if reply else None
