"""Counts failures in the store of limits, by one atomic script for all that count an attempt."""

from __future__ import annotations

from tollhouse.accounts.throttling.charges import Charge, ThrottleVerdict
from tollhouse.scripts import ScriptRunner


class StoredCounters:
    """The counters that all processes share. Its calls raise StoreUnavailable, and are never sent twice."""

    def __init__(self, store: ScriptRunner) -> None:
        self._store = store

    async def begin(self, charge: Charge) -> ThrottleVerdict:
        """Charge an attempt as a failure, or refuse it and charge nothing."""
        rule, device = charge.rule, charge.device_rule
        keys = [charge.account, charge.ended, charge.device, *(window.key for window in charge.windows)]
        of_account = (rule.free, rule.wait_ms, rule.wait_max_ms, rule.memory_ms)
        of_windows = (number for one in charge.windows for number in (one.rule.failures, one.rule.window_ms))
        numbers = [charge.issued_ms, rule.kept_ms, rule.row_max, *of_account, device.free, device.wait_ms, *of_windows]
        trusted, at_ms, device_wait_ms, *waits_ms = await self._store.run("limits/begin_guess", keys, numbers)
        return ThrottleVerdict(
            trusted=trusted == 1, at_ms=at_ms, device_wait_ms=device_wait_ms, waits_ms=tuple(waits_ms)
        )

    async def settle(self, charge: Charge, verdict: ThrottleVerdict, *, right: bool) -> None:
        """Uncount a charged attempt that was no failure; a right one begins anew what counted it.

        If that was the device alone the account's row of failures ends, and the waits of other clients go on.
        """
        windows = () if verdict.trusted else charge.windows
        counted = charge.device if verdict.trusted else charge.account
        keys = [counted, charge.account, *(window.key for window in windows)]
        numbers = [verdict.at_ms, int(right), *(window.rule.window_ms for window in windows)]
        await self._store.run("limits/settle_guess", keys, numbers)

    async def end_trust(self, ended: str, kept_ms: int) -> int:
        """Trust no device any more that was issued until now; return the time of the store, in milliseconds."""
        (at_ms,) = await self._store.run("limits/end_trust", [ended], [kept_ms])
        return at_ms
