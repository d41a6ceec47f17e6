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
from tollhouse.limits.policy.access_list import access_rule
from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.wire.compiled_policy import CompiledPolicy
from tollhouse.suggest import did_you_mean

KEY_CHARACTERS_MAX: Final = 512
CACHED_REQUESTS_MAX: Final = 16_384
"""So many subjects are remembered: to find one anew costs more than the rest of what a take needs here."""

_LABEL: Final = "rate"
_BRACED: Final = re.compile(r"\{([^}]+)\}")


class TakeRequest(Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """A take that can be sent: everything in it was checked. Those `beside` it go along, and only count."""

    compiled: CompiledPolicy
    key: str
    state_key: str
    cost: int
    shadows: tuple[TakeRequest, ...] = ()


class RequestReader:
    """Reads what callers ask for; raises InvalidInput that names the field, and never repeats a key.

    Keys are any text of 1 to 512 characters; the store only sees digests. The first part of a key that is in braces
    decides where it lives in a Cluster.
    """

    def __init__(self, prepared: Mapping[str, CompiledPolicy], keyring: Keyring) -> None:
        self._policies = prepared
        self._keyring = keyring
        self._cached = lru_cache(maxsize=CACHED_REQUESTS_MAX)(self._request)

    def replace(self, prepared: Mapping[str, CompiledPolicy]) -> None:
        """Read by other policies from now on."""
        self._policies = prepared
        self._cached.cache_clear()

    def read(self, policy: str, key: str, cost: int | None = None) -> TakeRequest:
        """Read a take of units; a cost of None is the policy's own."""
        asked = self._cached(policy, key)
        if asked.compiled.is_concurrency:
            raise InvalidInput("policy", policy, "its permits are held for a while: use `hold` or `lease`")
        if cost is None:
            return asked
        return asked if checked_units("cost", cost) == asked.cost else _with_cost(asked, cost)

    def read_subject(self, policy: str, key: str) -> TakeRequest:
        """Read whom a call is about, where units do not matter; the policy may have permits."""
        return self._cached(policy, key)

    def _request(self, policy: str, key: str) -> TakeRequest:
        prepared = self._policies.get(policy)
        if prepared is None:
            raise self._unknown_policy(policy)
        return TakeRequest(
            compiled=prepared,
            key=key,
            state_key=self._state_key(policy, key),
            cost=prepared.cost,
            shadows=tuple(
                TakeRequest(
                    compiled=candidate, key=key, state_key=self._state_key(candidate.name, key), cost=prepared.cost
                )
                for candidate in prepared.shadows
                if access_rule(candidate.policy, key) is None
            ),
        )

    def _unknown_policy(self, name: str) -> InvalidInput:
        known = ", ".join(sorted(self._policies))
        remedy = did_you_mean(name, self._policies, also=f"Known are {known}", otherwise=f"known are {known}")
        return InvalidInput("policy", name, remedy, kind="unknown-policy")

    def _state_key(self, policy: str, key: str) -> str:
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


def checked_units(field: str, number: object, *, least: int = 0) -> int:
    """Read a number of units; raises InvalidInput where it is none, or out of bounds."""
    if type(number) is not int or not least <= number <= UNITS_MAX:
        raise InvalidInput(field, number, f"give a whole number from {least} to {UNITS_MAX:,}")
    return number


def _with_cost(asked: TakeRequest, cost: int) -> TakeRequest:
    beside = tuple(_with_cost(one, cost) for one in asked.shadows) if asked.shadows else ()
    return TakeRequest(compiled=asked.compiled, key=asked.key, state_key=asked.state_key, cost=cost, shadows=beside)
