"""API keys: what a key allows, and how many wrong ones an address may send.

A right key waits for no store. A wrong one takes from the policy `wrong-key` of its address, and above that limit every
key of the address is refused, a right one too, for else each guess would still be tried. Two rules keep a flood of
guesses from the others behind the same address, such as a proxy that the settings do not name: a key that this process
accepted from an address before the flood stays accepted from there, and a wrong key that is sent again is no new guess.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Literal, TypeVar

from msgspec import Struct

from tollhouse.limits.decision import Decision, Take
from tollhouse.sessions import tokens
from tollhouse.wiring import Tollhouse

Entry = TypeVar("Entry")
Role = Literal["session", "service", "admin"]
Roles = frozenset[Role]

WRONG_KEY_POLICY: Final = "wrong-key"
NO_ROLES: Final[Roles] = frozenset()
_NAME_CHARACTERS: Final = 16

_REMEMBERED: Final = 4_096
"""Keys with the address that they were accepted from, and wrong keys: as many of each, the oldest forgotten first."""


class ApiKey(Struct, frozen=True, kw_only=True):
    """What a key allows, and the name under which its caller counts; without roles it is no key of the service."""

    roles: Roles = NO_ROLES
    name: str = ""


NO_KEY: Final = ApiKey()


class ApiKeys:
    """The keys of services and administrators, kept only as digests."""

    def __init__(self, tollhouse: Tollhouse) -> None:
        settings = tollhouse.settings
        self._limits = tollhouse.limits
        self._known: tuple[tuple[bytes, ApiKey], ...] = (
            *(_known(key, "service") for key in settings.service_key),
            *(_known(key, "service", "admin") for key in settings.admin_key),
        )
        self._accepted: dict[tuple[bytes, str], None] = {}
        self._wrong: dict[bytes, None] = {}

    def accepted_roles(self, key: str, address: str) -> Roles:
        """Return the roles of a right key, if an address may use it now; none otherwise. No store is called."""
        given = _digest(key)
        roles = self._find(given).roles
        return roles if roles and self._refusal_of_right_key(given, address) is None else NO_ROLES

    async def identify(self, key: str, address: str) -> ApiKey | Decision:
        """Return a key, without roles if it is unknown; or the refusal of an address that sent too many wrong keys.

        A session token is no key, right or wrong.
        """
        given = _digest(key)
        known = self._find(given)
        if known.roles:
            refusal = self._refusal_of_right_key(given, address)
            return known if refusal is None else refusal
        if given in self._wrong or tokens.parse(key) is not None:
            return NO_KEY
        decision = await self._limits.take(WRONG_KEY_POLICY, f"address:{address}")
        if not decision.allowed:
            return decision
        _remember(self._wrong, given)
        return NO_KEY

    def _find(self, given: bytes) -> ApiKey:
        """Return the key of a digest. Every known key is compared, each in constant time."""
        found = NO_KEY
        for digest, known in self._known:
            if hmac.compare_digest(digest, given):
                found = known
        return found

    def _refusal_of_right_key(self, given: bytes, address: str) -> Decision | None:
        pair = given, address
        if pair in self._accepted:
            return None
        refusal = self._limits.cached_refusal([Take(policy=WRONG_KEY_POLICY, key=f"address:{address}")])
        if refusal is None:
            _remember(self._accepted, pair)
        return refusal


def _known(key: str, *roles: Role) -> tuple[bytes, ApiKey]:
    digest = _digest(key)
    return digest, ApiKey(roles=frozenset(roles), name=digest.hex()[:_NAME_CHARACTERS])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _remember(entries: dict[Entry, None], entry: Entry) -> None:
    """Add an entry; forget the oldest above the bound."""
    entries[entry] = None
    if len(entries) > _REMEMBERED:
        del entries[next(iter(entries))]
