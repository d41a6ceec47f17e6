"""Key rules: how the key of a request is found, by a rule in words or by a function of the application.

`address`          the client's address, as far as it can be believed
`user`             the `user` that authentication in front put into the scope, else the user of our own session
`session`          our own session, verified
`api-key`          the key in `X-Api-Key`, or the bearer token, as a digest
`header:NAME`      a request header; use one that a proxy sets or the application checks, since clients can write any
`path:NAME`        a parameter of the path

If a rule finds no key, the client's address is used, so omitting a header does not bypass the limit. Keys begin with
their rule, such as `user:ada`, so that no user is mistaken for an address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from hashlib import blake2b
from inspect import isawaitable
from typing import Any, Final, cast
from uuid import UUID

from tollhouse.asgi.credentials import api_key_of, is_passive, session_token
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.asgi.types import Scope, header_of
from tollhouse.errors import ConfigurationError, InvalidInput, StoreUnavailable
from tollhouse.limits.policy.policy import KEY_RULES, Policy
from tollhouse.runtime.functions import checked_function
from tollhouse.sessions.records import Session
from tollhouse.suggest import one_of, similar

KeyValue = str | int | UUID | None
"""A key of the application; None if there is none."""
KeyFinder = Callable[[RequestContext], KeyValue | Awaitable[KeyValue]]
"""Returns the key of a request, or None if it finds none."""
KeyRule = str | Callable[[Scope], KeyValue | Awaitable[KeyValue]]
"""A rule in words, or a function of the ASGI scope that returns a key, plain or async."""

_FORMAT: Final = "v1."
_USER_NAMES: Final = ("id", "pk", "username", "display_name")
_NAMED: Final = ("header", "path")
_ALIKE: Final = 0.7
_RULES: Final = 256
_DIGEST_BYTES: Final = 16


def key_finder(rule: KeyRule) -> KeyFinder:
    """Return the function that finds the key; raises ConfigurationError for words that are no rule."""
    if callable(rule):
        function = checked_function("key", rule)
        return lambda context: function(context.scope)
    if not isinstance(cast("object", rule), str):
        raise ConfigurationError("key", rule, _remedy(rule, named=False))
    return _rule_in_words(rule)


@lru_cache(maxsize=_RULES)
def _rule_in_words(rule: str) -> KeyFinder:
    word, colon, name = rule.partition(":")
    if word in _NAMED and name:
        return partial(_header, rule.lower(), name.lower().encode()) if word == "header" else partial(_path, rule, name)
    if word not in _WORDS or colon:
        raise ConfigurationError("key", rule, _remedy(word, named=word in _NAMED))
    return _WORDS[word]


def resembles_rule(text: str) -> bool:
    """Return True if a text is a rule, or so similar to one that it was meant to be."""
    return bool(similar(text.partition(":")[0], (*_WORDS, *_NAMED), likeness=_ALIKE))


def address(context: RequestContext) -> str:
    """Return the client's address."""
    return context.source.clients.client_of(context.scope)


def policy_key_finder(policy: Policy | None) -> KeyFinder:
    """Return the function that finds the key by the policy's own rule; without one it is the client's address."""
    return address if policy is None or policy.key is None else key_finder(policy.key)


async def resolve_key(found: Any, context: RequestContext) -> str:
    """Return the key as text, awaiting it if necessary; the client's address if none was found."""
    key = await found if isawaitable(found) else found
    return address(context) if key is None else key_text(key)


def key_text(key: object) -> str:
    """Return a key of the application as text; raises InvalidInput unless it is text, an integer or a UUID.

    The text of other objects may differ from request to request, such as one with an address in memory, and a limit
    by it would count nothing.
    """
    if isinstance(key, str | int | UUID) and not isinstance(key, bool):
        return str(key)
    raise InvalidInput("key", type(key).__name__, "give text, an integer or a UUID; None is the client's address")


def check_rule(rule: object, source: LimiterSource) -> None:
    """Raise ConfigurationError for a rule that can never find a key."""
    if rule == "session" and not source.has_sessions:
        remedy = "sessions need a secret, and a URL or a limiter has none: give settings with one, or the Tollhouse"
        raise ConfigurationError("key", rule, remedy)


def _header(rule: str, name: bytes, context: RequestContext) -> str | None:
    value = header_of(context.scope, name)
    return f"{rule}:{value}" if value else None


def _path(rule: str, name: str, context: RequestContext) -> str | None:
    value = context.path_parameters.get(name)
    if value is None:
        value = context.scope.get("path_params", {}).get(name)
    return None if value is None else f"{rule}:{value}"


def _api_key(context: RequestContext) -> str | None:
    """Return the digest of the API key: the secret itself must not appear in keys, logs or decisions."""
    key = api_key_of(context.scope)
    return f"api-key:{blake2b(key.encode(), digest_size=_DIGEST_BYTES).hexdigest()}" if key else None


async def _user(context: RequestContext) -> str | None:
    user = context.scope.get("user")
    if user is None:
        session = await _verified_session(context)
        return None if session is None else f"user:{session.user}"
    if getattr(user, "is_authenticated", True) is False:
        return None
    names = (user,) if isinstance(user, str | int) else (getattr(user, name, None) for name in _USER_NAMES)
    return next((f"user:{name}" for name in names if name is not None and name != ""), None)


async def _session(context: RequestContext) -> str | None:
    session = await _verified_session(context)
    return None if session is None else f"session:{session.sid}"


async def _verified_session(context: RequestContext) -> Session | None:
    """Return the session for the request's token, or None (also while the store is down)."""
    token = session_token(context.scope, context.source.cookie)
    if not token.startswith(_FORMAT) or not context.source.has_sessions:
        return None
    try:
        return await (await context.source.sessions()).verify(token, passive=is_passive(context.scope))
    except StoreUnavailable:
        return None


def _remedy(word: object, *, named: bool) -> str:
    if named:
        return f"name it, as in {word}:{'x-tenant' if word == 'header' else 'tenant'}"
    return f"{one_of(word, KEY_RULES)}; or give a function"


_WORDS: Final[Mapping[str, KeyFinder]] = {"address": address, "user": _user, "session": _session, "api-key": _api_key}
