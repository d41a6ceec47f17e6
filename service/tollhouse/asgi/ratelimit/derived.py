"""Limits that are written where they are used: each is a policy of its own, whose name follows from its place.

The name is the same in every process, and two places never share a counter by saying the same limit: that is for
those that ask for it by giving the policy a name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from tollhouse.errors import ConfigurationError
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy

_PLACE_CHARACTERS_MAX: Final = 48
_DIGEST_BYTES: Final = 5
_PLACES: Final = 4_096
_OTHERS: Final = re.compile(r"[^a-z0-9]+")


def is_notation(text: str) -> bool:
    """Tell a limit, such as `5/minute`, from the name of a policy."""
    return text.strip()[:1].isdigit()


@lru_cache(maxsize=_PLACES)
def policy_for_place(place: str, text: str, algorithm: str, name: str | None = None) -> Policy:
    """Make the policy of a limit at a place; raises InvalidInput where it is no limit.

    Only the first line of the place is seen in the name, such as a route's; the rest tells it from others like it.
    """
    policy = parse_policy(name or "written", text, algorithm)
    if name is not None:
        return policy
    digest = blake2b(f"{place}\n{algorithm}\n{policy.text}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return parse_policy(f"{_words(place) or 'limit'}.{digest}", text, algorithm)


def register(limiter: Limiter, policy: Policy) -> str:
    """Let the limiter know the policy, and give its name; it may have been forgotten when the settings changed.

    Raises ConfigurationError where the name stands for other limits already.
    """
    known = limiter.policies.get(policy.name)
    if known is None:
        limiter.replace_policies({**limiter.policies, policy.name: policy})
    elif known is not policy and known != policy:
        remedy = f"it stands for {known.text} already, not for {policy.text}; give another name"
        raise ConfigurationError("name", policy.name, remedy)
    return policy.name


def _words(place: str) -> str:
    words = _OTHERS.sub("-", place.partition("\n")[0].lower())
    return words.lstrip("-0123456789")[:_PLACE_CHARACTERS_MAX].rstrip("-")
