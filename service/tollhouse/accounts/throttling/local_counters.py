"""Counts failures in the memory of one process, by the rules of the store, while the store is down.

Each process counts what it sees itself, from nothing at the beginning of an outage. It does not know which devices a
change of the password has ended; a device has its own few attempts here too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

from tollhouse.accounts.throttling.charges import Charge, ThrottleVerdict
from tollhouse.accounts.throttling.failures import (
    NO_FAILURES,
    FailureRule,
    Failures,
    charged,
    current,
    row_ended,
    uncounted,
    wait_of,
)
from tollhouse.accounts.throttling.windows import Counts, window_charged, window_uncounted, window_wait
from tollhouse.clock import UnixClock, unix_ms

_Entry = TypeVar("_Entry")

KEYS_MAX: Final = 10_000
"""Accounts and devices, and as many windows; beyond it those that failed longest ago are forgotten."""


class LocalCounters:
    """The counters of this process alone, with its own clock."""

    def __init__(self, *, clock: UnixClock = unix_ms, keys_max: int = KEYS_MAX) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._failures: OrderedDict[str, Failures] = OrderedDict()
        self._windows: OrderedDict[str, Counts] = OrderedDict()

    def clear(self) -> None:
        """Forget all failures: the store counts again."""
        self._failures.clear()
        self._windows.clear()

    async def begin(self, charge: Charge) -> ThrottleVerdict:
        """Charge an attempt as a failure, or refuse it and charge nothing."""
        now_ms, device_wait_ms = self._clock(), 0
        if charge.issued_ms > 0:
            device_wait_ms = self._device_wait(charge, now_ms)
            if device_wait_ms == 0:
                self._fail(charge.device, charge.device_rule, now_ms)
                return ThrottleVerdict(trusted=True, at_ms=now_ms, device_wait_ms=0)
        wait_ms = wait_of(self._found(charge.account, charge.rule, now_ms), charge.rule, now_ms)
        of_windows = (window_wait(self._windows.get(one.key, {}), one.rule, now_ms) for one in charge.windows)
        waits_ms = wait_ms, *of_windows
        verdict = ThrottleVerdict(trusted=False, at_ms=now_ms, device_wait_ms=device_wait_ms, waits_ms=waits_ms)
        if verdict.wait_ms == 0:
            self._fail(charge.account, charge.rule, now_ms)
            for window in charge.windows:
                counts = self._windows.get(window.key, {})
                self._keep(self._windows, window.key, window_charged(counts, window.rule, now_ms))
        return verdict

    async def settle(self, charge: Charge, verdict: ThrottleVerdict, *, right: bool) -> None:
        """Uncount a charged attempt that was no failure; a right one begins anew what counted it.

        If that was the device alone the account's row of failures ends, and the waits of other clients go on.
        """
        counted = charge.device if verdict.trusted else charge.account
        if right:
            self._failures.pop(counted, None)
            if charge.account in self._failures:
                self._failures[charge.account] = row_ended(self._failures[charge.account])
        elif counted in self._failures:
            self._failures[counted] = uncounted(self._failures[counted], verdict.at_ms)
        for window in () if verdict.trusted else charge.windows:
            if window.key in self._windows:
                self._windows[window.key] = window_uncounted(self._windows[window.key], window.rule, verdict.at_ms)

    def _device_wait(self, charge: Charge, now_ms: int) -> int:
        rule = charge.device_rule
        if charge.issued_ms + rule.kept_ms <= now_ms:
            return rule.wait_max_ms
        return wait_of(self._found(charge.device, rule, now_ms), rule, now_ms)

    def _fail(self, key: str, rule: FailureRule, now_ms: int) -> None:
        self._keep(self._failures, key, charged(self._found(key, rule, now_ms), rule, now_ms))

    def _found(self, key: str, rule: FailureRule, now_ms: int) -> Failures:
        return current(self._failures.get(key, NO_FAILURES), rule, now_ms)

    def _keep(self, entries: OrderedDict[str, _Entry], key: str, entry: _Entry) -> None:
        entries[key] = entry
        entries.move_to_end(key)
        if len(entries) > self._keys_max:
            entries.popitem(last=False)
