"""What a caller asks for, read once: the policy, the cost, and the name of the subject's state in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct

from tollhouse import keys
from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.limits.policy.access_list import standing
from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.wire.compiled_policy import Prepared
from tollhouse.suggest import did_you_mean

KEY_CHARACTERS_MAX: Final = 512
SUBJECTS_MAX: Final = 16_384
"""So many subjects are remembered: to find one anew costs more than the rest of what a take needs here."""

_LABEL: Final = "rate"
_BRACED: Final = re.compile(r"\{([^}]+)\}")


class Asked(Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """A take that can be sent: everything in it was checked. Those `beside` it go along, and only count."""

    prepared: Prepared
    key: str
    state: str
    cost: int
    beside: tuple[Asked, ...] = ()


class Asking:
    """Reads what callers ask for; raises InvalidInput that names the field, and never repeats a key.

    Keys are any text of 1 to 512 characters; the store only sees digests. The first part of a key that is in braces
    decides where it lives in a Cluster.
    """

    def __init__(self, prepared: Mapping[str, Prepared], keyring: Keyring) -> None:
        self._prepared = prepared
        self._keyring = keyring
        self._found = lru_cache(maxsize=SUBJECTS_MAX)(self._find)

    def replace(self, prepared: Mapping[str, Prepared]) -> None:
        """Read by other policies from now on."""
        self._prepared = prepared
        self._found.cache_clear()

    def read(self, policy: str, key: str, cost: int | None = None) -> Asked:
        """Read a take of units; a cost of None is the policy's own."""
        asked = self._found(policy, key)
        if asked.prepared.is_concurrency:
            raise InvalidInput("policy", policy, "its permits are held for a while: use `hold` or `lease`")
        if cost is None:
            return asked
        return asked if units("cost", cost) == asked.cost else _costing(asked, cost)

    def subject(self, policy: str, key: str) -> Asked:
        """Read whom a call is about, where units do not matter; the policy may have permits."""
        return self._found(policy, key)

    def _find(self, policy: str, key: str) -> Asked:
        prepared = self._prepared.get(policy)
        if prepared is None:
            raise self._no_policy(policy)
        return Asked(
            prepared=prepared,
            key=key,
            state=self._state(policy, key),
            cost=prepared.cost,
            beside=tuple(
                Asked(prepared=candidate, key=key, state=self._state(candidate.name, key), cost=prepared.cost)
                for candidate in prepared.beside
                if standing(candidate.policy, key) is None
            ),
        )

    def _no_policy(self, name: str) -> InvalidInput:
        known = ", ".join(sorted(self._prepared))
        remedy = did_you_mean(name, self._prepared, also=f"Known are {known}", otherwise=f"known are {known}")
        return InvalidInput("policy", name, remedy, kind="unknown-policy")

    def _state(self, policy: str, key: str) -> str:
        size = f"{len(key)} characters"
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
            raise InvalidInput("key", size, f"give 1 to {KEY_CHARACTERS_MAX} characters")
        braced = _BRACED.search(key)
        try:
            digest = self._keyring.digest(_LABEL, key)
            tag = digest if braced is None else self._keyring.digest(_LABEL, braced[1])
        except UnicodeEncodeError as error:
            raise InvalidInput("key", size, "send text that UTF-8 can encode") from error
        return keys.rate(tag, policy, None if braced is None else digest)


def units(field: str, number: object, *, least: int = 0) -> int:
    """Read a number of units; raises InvalidInput where it is none, or out of bounds."""
    if type(number) is not int or not least <= number <= UNITS_MAX:
        raise InvalidInput(field, number, f"give a whole number from {least} to {UNITS_MAX:,}")
    return number


def _costing(asked: Asked, cost: int) -> Asked:
    beside = tuple(_costing(one, cost) for one in asked.beside) if asked.beside else ()
    return Asked(prepared=asked.prepared, key=asked.key, state=asked.state, cost=cost, beside=beside)
