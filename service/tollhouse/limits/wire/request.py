"""Validated requests: the compiled policy, the cost, and the key of the store under which the counters are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.wire.compiled_policy import CompiledPolicy
from tollhouse.suggest import one_of

KEY_CHARACTERS_MAX: Final = 512
CACHED_REQUESTS_MAX: Final = 16_384
"""Size of the cache of requests: hashing a key costs more than the rest of a take."""

_LABEL: Final = "rate"
_HASH_TAG: Final = re.compile(r"\{([^}]+)\}")


class TakeRequest(Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """A validated take. The requests in `shadows` are sent with it, count its cost and never refuse."""

    compiled: CompiledPolicy
    key: str
    state_key: str
    cost: int
    shadows: tuple[TakeRequest, ...] = ()


class RequestReader:
    """Validates what callers pass; raises InvalidInput that names the field and never repeats a key."""

    def __init__(self, policies: Mapping[str, CompiledPolicy], keyring: Keyring, namespace: Namespace) -> None:
        self._policies = policies
        self._keyring = keyring
        self._namespace = namespace
        self._cached = lru_cache(maxsize=CACHED_REQUESTS_MAX)(self._request)

    def replace(self, policies: Mapping[str, CompiledPolicy]) -> None:
        """Use other policies from now on."""
        self._policies = policies
        self._cached.cache_clear()

    def read(self, policy: str, key: str, cost: int | None = None) -> TakeRequest:
        """Return the request for a take; a cost of None is the policy's default."""
        try:
            request = self._cached(policy, key)
        except TypeError as error:  # it has no hash
            raise _not_text(policy, key) from error
        if request.compiled.is_concurrency:
            raise InvalidInput("policy", policy, "it grants leases of permits: use `hold` or `lease`")
        if cost is None:
            return request
        return request if checked_units("cost", cost) == request.cost else with_cost(request, cost)

    def read_subject(self, policy: str, key: str) -> TakeRequest:
        """Return the request for a call that has no cost; the policy may be one of concurrency."""
        try:
            return self._cached(policy, key)
        except TypeError as error:
            raise _not_text(policy, key) from error

    def _request(self, policy: object, key: object) -> TakeRequest:
        if not isinstance(policy, str) or not isinstance(key, str):
            raise _not_text(policy, key)
        compiled = self._policies.get(policy)
        if compiled is None:
            raise self._unknown_policy(policy)
        return TakeRequest(
            compiled=compiled,
            key=key,
            state_key=self._state_key(policy, key),
            cost=compiled.cost,
            shadows=tuple(
                TakeRequest(compiled=shadow, key=key, state_key=self._state_key(shadow.name, key), cost=compiled.cost)
                for shadow in compiled.shadows
                if shadow.access_lists is None or shadow.access_lists.match(key) is None
            ),
        )

    def _unknown_policy(self, name: str) -> InvalidInput:
        return InvalidInput("policy", name, one_of(name, sorted(self._policies)), kind="unknown-policy")

    def _state_key(self, policy: str, key: str) -> str:
        length = f"{len(key)} characters"
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
            raise InvalidInput("key", length, f"give 1 to {KEY_CHARACTERS_MAX} characters")
        hash_tag = _HASH_TAG.search(key)
        try:
            digest = self._keyring.digest(_LABEL, key)
            tag = digest if hash_tag is None else self._keyring.digest(_LABEL, hash_tag[1])
        except UnicodeEncodeError as error:
            raise InvalidInput("key", length, "send text that UTF-8 can encode") from error
        return self._namespace.rate(tag, policy, None if hash_tag is None else digest)


def _not_text(policy: object, key: object) -> InvalidInput:
    """Return the error for a policy or a key that is no text."""
    if not isinstance(policy, str):
        return InvalidInput("policy", type(policy).__name__, "name the policy as text")
    return InvalidInput("key", type(key).__name__, "give text, such as str(key)")


def checked_units(field: str, number: object, *, least: int = 0) -> int:
    """Return `number` if it is a valid number of units; raises InvalidInput otherwise."""
    if type(number) is not int or not least <= number <= UNITS_MAX:
        raise InvalidInput(field, number, f"give a whole number from {least} to {UNITS_MAX:,}")
    return number


def with_cost(request: TakeRequest, cost: int) -> TakeRequest:
    """Return the request for `cost` units, from its shadows too."""
    shadows = tuple(with_cost(shadow, cost) for shadow in request.shadows) if request.shadows else ()
    return TakeRequest(
        compiled=request.compiled, key=request.key, state_key=request.state_key, cost=cost, shadows=shadows
    )
