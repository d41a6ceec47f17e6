"""Remembers who is refused, so that a flood of attempts costs the store one call a second for each key that refuses.

An attempt that is known to be refused is not sent. It could only be admitted earlier if failures were uncounted: in
this process that ends what is remembered, and one that another process uncounts is seen a second later.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from tollhouse.accounts.throttling.charges import Charge, ThrottleVerdict
from tollhouse.clock import MonotonicClock, monotonic_ms

KEYS_MAX: Final = 65_536
"""Keys that refuse; beyond it those that refused first are forgotten."""
REPEATED_MS_MAX: Final = 1_000
"""How long a refusal is repeated without asking the store again."""


class _Refusal(Struct, frozen=True, kw_only=True):
    repeated_until_ms: int
    until_ms: int


class Refusals:
    """The keys that refuse, and those of devices that are not trusted, in one process."""

    def __init__(self, *, clock: MonotonicClock = monotonic_ms, keys_max: int = KEYS_MAX) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._keys: OrderedDict[str, _Refusal] = OrderedDict()

    def wait_of(self, charge: Charge) -> int:
        """Return how long the client has to wait; 0 if that is not known here, and the store has to decide."""
        if charge.issued_ms > 0 and self._wait(charge.device) == 0:
            return 0
        return max(self._wait(key) for key in (charge.account, *(window.key for window in charge.windows)))

    def store(self, charge: Charge, verdict: ThrottleVerdict, sent_ms: int) -> None:
        """Remember which keys refused an attempt that was sent then."""
        keys = charge.account, *(window.key for window in charge.windows)
        self._store(charge.device, verdict.device_wait_ms, sent_ms)
        for key, wait_ms in zip(keys, verdict.waits_ms, strict=False):
            self._store(key, wait_ms, sent_ms)

    def clear(self) -> None:
        """Forget all keys."""
        self._keys.clear()

    def evict(self, charge: Charge) -> None:
        """Forget the keys of an attempt that was uncounted."""
        for key in (charge.account, charge.device, *(window.key for window in charge.windows)):
            self._keys.pop(key, None)

    def _wait(self, key: str) -> int:
        refusal, now_ms = self._keys.get(key), self._clock()
        if refusal is None:
            return 0
        if now_ms >= refusal.repeated_until_ms:
            del self._keys[key]
            return 0
        return refusal.until_ms - now_ms

    def _store(self, key: str, wait_ms: int, sent_ms: int) -> None:
        if wait_ms > 0:
            repeated_ms = min(wait_ms, REPEATED_MS_MAX)
            self._keys[key] = _Refusal(repeated_until_ms=sent_ms + repeated_ms, until_ms=sent_ms + wait_ms)
            if len(self._keys) > self._keys_max:
                self._keys.popitem(last=False)
