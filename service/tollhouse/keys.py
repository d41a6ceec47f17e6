"""The name of every key, one function each: what a key is called is decided here and nowhere else.

Names hold digests, tags and operator-chosen words, never a user name, an address or a secret.
The part in braces is the Cluster hash tag: keys that one script touches share it.

Keys without an expiry, each for a reason:
- `account`, because an account lives until it is deleted;
- `user_epoch` of a disabled user, because the flag may not lapse;
- `global_epoch`, because "log everyone out" may not lapse;
- `cache_clock`, because tags compare with it (losing it costs misses, never stale answers).
"""

from __future__ import annotations

PREFIX = "tollhouse"


def rate(tag_digest: str, policy: str, key_digest: str | None = None) -> str:
    """Name the state of one subject under one policy: every window of it in one value."""
    suffix = policy if key_digest is None else f"{key_digest}:{policy}"
    return f"{PREFIX}:rate:{{{tag_digest}}}:{suffix}"


def rate_clearings() -> str:
    """Name the channel, not a key, on which it is announced that a subject may have units again."""
    return f"{PREFIX}:rate:cleared"


def session(tag: str, sid: str) -> str:
    """Name the record of one session; `tag` is the first two hex digits of its user's digest."""
    return f"{PREFIX}:session:{{{tag}}}:sid:{sid}"


def user_sessions(tag: str, user_digest: str) -> str:
    """Name the index of a user's live sessions, scored by their expiry."""
    return f"{PREFIX}:session:{{{tag}}}:user:{user_digest}"


def user_epoch(tag: str, user_digest: str) -> str:
    """Name the epoch that ends all sessions of a user that began before it."""
    return f"{PREFIX}:session:{{{tag}}}:epoch:{user_digest}"


def global_epoch(tag: str) -> str:
    """Name the shard of the epoch that ends everybody's sessions."""
    return f"{PREFIX}:session:{{{tag}}}:everyone"


def session_events(tag: str) -> str:
    """Name the shard of the stream of session events."""
    return f"{PREFIX}:session:{{{tag}}}:events"


def session_revocations() -> str:
    """Name the channel, not a key, on which the ends of sessions are announced to all processes."""
    return f"{PREFIX}:session:revocations"


def account(user_digest: str) -> str:
    """Name the record of one account."""
    return f"{PREFIX}:account:{{{user_digest[:2]}}}:{user_digest}"


def cache_entry(family: str, digest: str, *, shard: str = "0", prefix: str = PREFIX) -> str:
    """Name a cached entry; `family` is a readable, operator-chosen word such as `ai:langid`."""
    return f"{prefix}:{family}:{{{shard}}}:{digest}"


def cache_lease(digest: str, *, shard: str = "0", prefix: str = PREFIX) -> str:
    """Name the lease under which one entry may be filled."""
    return f"{prefix}:lease:{{{shard}}}:{digest}"


def cache_clock(*, shard: str = "0", prefix: str = PREFIX) -> str:
    """Name the logical clock that tags and clears are measured by."""
    return f"{prefix}:clock:{{{shard}}}"


def marker(store: str) -> str:
    """Name the key that is written to have what went before confirmed; it begins as the store's other keys do."""
    return f"{PREFIX}:{_WORDS[store]}:{{marker}}"


_WORDS = {"sessions": "session", "limits": "rate", "cache": "cache", "accounts": "account"}
