"""Key names: one function for each kind of key; no other module builds a key name.

Names contain digests, tags and words chosen by the operator, never a user name, an address or a secret. The part in
braces is the Cluster hash tag: all keys of one script call share it.

Keys without an expiry, each for a reason:
- `account`, because an account lives until it is deleted;
- `user_epoch` of a disabled user, because the flag must not expire;
- `global_epoch`, because the revocation of all sessions must not expire;
- `cache_clock`, because tags compare with it (losing it costs misses, never stale results).
"""

from __future__ import annotations

PREFIX = "tollhouse"


def rate(tag_digest: str, policy: str, key_digest: str | None = None) -> str:
    """Return the key of one subject's counters under one policy: all windows in one value."""
    suffix = policy if key_digest is None else f"{key_digest}:{policy}"
    return f"{PREFIX}:rate:{{{tag_digest}}}:{suffix}"


def rate_clearings() -> str:
    """Return the channel (not a key) that announces subjects that may have units again."""
    return f"{PREFIX}:rate:cleared"


def session(tag: str, sid: str) -> str:
    """Return the key of one session; `tag` is the first two hex digits of its user's digest."""
    return f"{PREFIX}:session:{{{tag}}}:sid:{sid}"


def user_sessions(tag: str, user_digest: str) -> str:
    """Return the key of the index of a user's live sessions, scored by expiry."""
    return f"{PREFIX}:session:{{{tag}}}:user:{user_digest}"


def user_epoch(tag: str, user_digest: str) -> str:
    """Return the key of a user's revocation epoch: sessions that began before it are revoked."""
    return f"{PREFIX}:session:{{{tag}}}:epoch:{user_digest}"


def global_epoch(tag: str) -> str:
    """Return the key of one shard of the global revocation epoch, which revokes sessions of all users."""
    return f"{PREFIX}:session:{{{tag}}}:everyone"


def session_events(tag: str) -> str:
    """Return the key of one shard of the stream of session events."""
    return f"{PREFIX}:session:{{{tag}}}:events"


def session_revocations() -> str:
    """Return the channel (not a key) that announces revocations to all processes."""
    return f"{PREFIX}:session:revocations"


def account(user_digest: str) -> str:
    """Return the key of one account."""
    return f"{PREFIX}:account:{{{user_digest[:2]}}}:{user_digest}"


def cache_entry(family: str, digest: str, *, prefix: str) -> str:
    """Return the key of a cached entry; `family` is a readable word such as `ai:langid`."""
    return f"{prefix}:{family}:{{0}}:{digest}"


def cache_lease(digest: str, *, prefix: str) -> str:
    """Return the key of the lease that allows one process to fill an entry."""
    return f"{prefix}:lease:{{0}}:{digest}"


def cache_clock(*, prefix: str) -> str:
    """Return the key of the logical clock that orders fills, tags and clears."""
    return f"{prefix}:clock:{{0}}"


def marker(store: str) -> str:
    """Return the key that is written so that replicas confirm the writes before it; its prefix is the store's."""
    return f"{PREFIX}:{_WORDS[store]}:{{marker}}"


_WORDS = {"sessions": "session", "limits": "rate", "cache": "cache", "accounts": "account"}
