"""The calls about one session in the order of their beginnings and ends, and what must hold of every such order.

A call comes after another one if it began when that one had ended. Calls side by side have no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, Final, NamedTuple

from tests.simulation.history import Chain
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.tokens import Token

ENDS: Final = frozenset({"revoke", "revoke_all", "everyone", "disable"})
"""The verbs after which the session is over, whatever they found."""


class Use(NamedTuple):
    """A call: what it presented, its numbers in the order of all beginnings and ends, and its result.

    `value` is None for a refusal. A call that had no answer has `ended` None.
    """

    verb: str
    token: Token | None
    name: str
    began: int
    ended: int | None
    value: Any

    def precedes(self, other: Use) -> bool:
        """Return whether this call was answered before the other one began."""
        return self.ended is not None and self.ended < other.began


def faults(uses: Sequence[Use], chain: Chain) -> list[str]:
    """Return what is wrong with the results of calls about one session, whose tokens are `chain`."""
    opened = [use for use in uses if use.token is not None and use.value is not None]
    return [*_after_ends(uses, opened), *_after_rotations(opened, chain), *_changes(opened), *_successors(opened)]


def data_faults(uses: Sequence[Use], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield each change that was answered, and that the data of the session does not have when all is quiet."""
    if any(use.verb == "patch" and use.value is not None and values.get(use.name) != use.name for use in uses):
        yield "a patch was lost"
    sums = [use for use in uses if use.verb == "increment"]
    certain = sum(use.value is not None for use in sums)
    unknown = sum(use.ended is None for use in sums)
    if not certain <= values.get("sum", 0) <= certain + unknown:
        yield "an increment was lost"


def _after_ends(uses: Sequence[Use], opened: Sequence[Use]) -> Iterator[str]:
    """Yield each call that opened the session after its end was answered, and logins between disable and enable."""
    for end in (use for use in uses if use.verb in ENDS):
        yield from (f"{use.verb} after {end.verb}" for use in opened if end.precedes(use))
    if any(use.verb == "login" and use.value is not None for use in uses):
        yield "a disabled user logged in"


def _after_rotations(opened: Sequence[Use], chain: Chain) -> Iterator[str]:
    """Yield each call that a secret opened the session for after it had been rotated away."""
    numbered = [(use, chain.generation(use.token)) for use in opened if use.token is not None]
    for rotated in (use for use in opened if use.verb == "rotate"):
        generation = chain.generation(rotated.value.token)
        former = (use for use, number in numbered if number < generation and rotated.precedes(use))
        yield from (f"{use.verb} with a secret that was rotated" for use in former)


def _changes(opened: Sequence[Use]) -> Iterator[str]:
    """Yield what is wrong with the versions, sums and values that changes were answered with."""
    taken = [use.value.value for use in opened if use.verb == "take" and use.value.value is not None]
    if len(set(taken)) < len(taken):
        yield "a value was taken twice"
    changes = [use for use in opened if use.verb in ("patch", "put", "increment")]
    changes += [use for use in opened if use.verb == "take" and use.value.value is not None]
    if not _grows([(use, use.value.version) for use in changes]):
        yield "a version does not grow"
    if not _grows([(use, use.value.value) for use in opened if use.verb == "increment"]):
        yield "a sum does not grow"


def _grows(numbered: Sequence[tuple[Use, int]]) -> bool:
    """Return whether all numbers differ, and those of later calls are higher."""
    late = any(first.precedes(second) and one >= other for (first, one), (second, other) in permutations(numbered, 2))
    return not late and len({number for _, number in numbered}) == len(numbered)


def _successors(opened: Iterable[Use]) -> Iterator[str]:
    """Yield a token that renewals gave two successors."""
    found: dict[Token, Token] = {}
    for use in opened:
        if use.verb == "renew" and isinstance(use.value, Rotation) and use.token not in (None, use.value.token):
            assert use.token is not None
            if found.setdefault(use.token, use.value.token) != use.value.token:
                yield "a token has two successors"
