"""Key names: one method for each kind of key; no other module builds a key name.

Names contain digests, tags and words chosen by the operator, never a user name, an address or a secret. They begin with
the word of the store, and with the namespace if there is one. The part in braces is the Cluster hash tag: all keys of
one script call share it.

Keys without an expiry, each for a reason:
- `account` and `user_handle`, because an account lives until it is deleted;
- `user_epoch` of a disabled user, because the flag must not expire;
- `global_epoch`, because the revocation of all sessions must not expire;
- the clock of a cache, because tags compare with it (losing it costs misses, never stale results);
- the sums of its families, which are those since the beginning, of a bounded number of families;
- a queue of writes, because a write that waits must not expire (the length of a queue is bounded).
"""

from __future__ import annotations

import re
from typing import Final

from tollhouse.errors import ConfigurationError

PREFIX: Final = "tollhouse"
NAMESPACE_CHARACTERS: Final = "A-Za-z0-9_.-"
NAMESPACE_CHARACTERS_MAX: Final = 64

_NAMESPACE: Final = re.compile(rf"[{NAMESPACE_CHARACTERS}]{{0,{NAMESPACE_CHARACTERS_MAX}}}")
_DIGEST_DIGITS: Final = 32
"""So many hex digits stand for the name of an account."""
_WORDS: Final = {"sessions": "session", "limits": "rate", "cache": "cache", "accounts": "account"}


class Namespace:
    """The names of one application's keys and channels: those of two namespaces never meet.

    The name comes behind the word of the store. It has no colon and no brace, so it cannot be mistaken for another
    part of a key. Without a name the keys have no such part.
    """

    def __init__(self, name: str = "") -> None:
        check_namespace(name)
        self.name = name
        self._scope = scope = f"{name}:" if name else ""
        self._rate = f"{PREFIX}:rate:{scope}"
        self._session = f"{PREFIX}:session:{scope}"
        self._account = f"{PREFIX}:account:{scope}"
        self.rate_clearings = f"{self._rate}cleared"
        """The channel (not a key) that announces subjects that may have units again."""
        self.session_revocations = f"{self._session}revocations"
        """The channel (not a key) that announces revocations to all processes."""

    def rate(self, tag_digest: str, policy: str, key_digest: str | None = None) -> str:
        """Return the key of one subject's counters under one policy: all windows in one value."""
        suffix = policy if key_digest is None else f"{key_digest}:{policy}"
        return f"{self._rate}{{{tag_digest}}}:{suffix}"

    def throttle(self, counter: str, digest: str | None = None) -> str:
        """Return the key of failed guesses by one counter; one script charges several, so all have one hash tag."""
        return f"{self._rate}{{throttle}}:{counter}{'' if digest is None else f':{digest}'}"

    def throttle_ended(self, account_digest: str) -> str:
        """Return the key of the time until which the devices of an account are not trusted."""
        return self.throttle("ended", account_digest)

    def session(self, tag: str, sid: str) -> str:
        """Return the key of one session; `tag` is the first two hex digits of its user's digest."""
        return f"{self._session}{{{tag}}}:sid:{sid}"

    def session_memo(self, tag: str, sid: str) -> str:
        """Return the key of what stays of a session for 24 hours after its end: its verifier, and why it is over."""
        return f"{self.session(tag, sid)}:memo"

    def user_sessions(self, tag: str, user_digest: str) -> str:
        """Return the key of the index of a user's live sessions, scored by expiry."""
        return f"{self._session}{{{tag}}}:user:{user_digest}"

    def session_ticket(self, tag: str, user_digest: str) -> str:
        """Return the key of the login of a user that waits until the user ended a session."""
        return f"{self._session}{{{tag}}}:ticket:{user_digest}"

    def user_epoch(self, tag: str, user_digest: str) -> str:
        """Return the key of a user's revocation epoch: sessions that began before it are revoked."""
        return f"{self._session}{{{tag}}}:epoch:{user_digest}"

    def global_epoch(self, tag: str) -> str:
        """Return the key of one shard of the global revocation epoch, which revokes sessions of all users."""
        return f"{self._session}{{{tag}}}:everyone"

    def session_events(self, tag: str) -> str:
        """Return the key of one shard of the stream of session events."""
        return f"{self._session}{{{tag}}}:events"

    def account(self, user_digest: str) -> str:
        """Return the key of one account."""
        return f"{self._account}{{{user_digest[:2]}}}:{user_digest}"

    def login_ticket(self, digest: str) -> str:
        """Return the key of a login whose password was right, and which waits for a second factor."""
        return f"{self._account}{{{digest[:2]}}}:ticket:{digest}"

    def user_handle(self, digest: str) -> str:
        """Return the key of the name of the account that has a user handle."""
        return f"{self._account}{{{digest[:2]}}}:handle:{digest}"

    def spent_challenge(self, digest: str) -> str:
        """Return the key of a challenge that a passkey has answered."""
        return f"{self._account}{{{digest[:2]}}}:challenge:{digest}"

    @property
    def accounts(self) -> str:
        """The pattern of all accounts; a namespace has no character that means others in it."""
        return f"{self._account}{{??}}:{'?' * _DIGEST_DIGITS}"

    @property
    def hash_costs(self) -> str:
        """The key of what the hashes of accounts cost."""
        return f"{self._account}{{costs}}:noted"

    def cache(self, prefix: str = PREFIX) -> CacheNames:
        """Return the names of a cache whose keys begin with `prefix`."""
        return CacheNames(prefix, self.name)

    def marker(self, store: str) -> str:
        """Return the key that is written so that replicas confirm the writes before it; its prefix is the store's."""
        return f"{PREFIX}:{_WORDS[store]}:{self._scope}{{marker}}"

    def probe(self, store: str) -> str:
        """Return the key that is written to prove that a store can be; its prefix is the store's."""
        return f"{PREFIX}:{_WORDS[store]}:{self._scope}{{probe}}"


class CacheNames:
    """The names of one cache.

    Without a namespace the first word of an entry stands before the hash tag. In a namespace it stands behind the tag,
    so that an entry whose first word is `cache` does not look like one of a namespace. No first word has an `@`.
    """

    def __init__(self, prefix: str, namespace: str) -> None:
        self.scope = f"{prefix}:cache:{namespace}:{{0}}:" if namespace else f"{prefix}:"
        """What stands before the first word of an entry."""
        self.tag = "" if namespace else ":{0}"
        """What stands behind it, before the colon and the digests."""
        self.clock = f"{self.scope}@clock{self.tag}"
        """The key of the logical clock that orders fills, tags and clears."""
        self.families = f"{self.scope}@families{self.tag}"
        """The key of the sums that processes have counted for each family."""

    def entry(self, word: str, digests: str) -> str:
        """Return the key of a cached entry; `word` is readable, such as `model`; digests stand for the rest."""
        return f"{self.scope}{word}{self.tag}:{digests}"

    def lease(self, word: str, digests: str) -> str:
        """Return the key of the lease that allows one process to fill an entry."""
        return f"{self.scope}@lease{self.tag}:{word}:{digests}"

    def permit(self, word: str, digests: str) -> str:
        """Return the key of the permit that callers who missed an entry share to store it."""
        return f"{self.scope}@permit{self.tag}:{word}:{digests}"

    def queue(self, name: str) -> tuple[str, str, str]:
        """Return the keys of a queue of writes, of the consumer that has it, and of its writes that failed."""
        queue, consumer, dead = (f"{self.scope}@{part}{self.tag}:{name}" for part in ("queue", "consumer", "dead"))
        return queue, consumer, dead


def check_namespace(name: str, setting: str = "namespace") -> None:
    """Raise ConfigurationError, which blames `setting`, for a name that could be mistaken for other parts of a key."""
    if _NAMESPACE.fullmatch(name) is None:
        remedy = f"use at most {NAMESPACE_CHARACTERS_MAX} of a-z, A-Z, 0-9, '_', '.' and '-'"
        raise ConfigurationError(setting, name, remedy)


UNNAMED: Final = Namespace()
"""The namespace of an application that shares its server with no other."""
