"""The throttle: who may guess at a password or a code now, without refusing owners because of others.

An attempt is charged as a failure before its outcome is known, to all that count it at once. So guesses side by side
count like guesses in a row, and a crash counts as a failure. What makes no guess is uncounted: an overload, an outage,
a client that left before the hash. A right guess begins anew what counted it: the account, or the device alone. A
device also ends the account's row of failures, but not the waits of others: no login of an owner gives guessers more.

A client with a trusted device of the account, or with a live session of its user, is counted by that alone. Names count
alike whether they have an account or not. While the store of limits is down each process counts for itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, Literal, LiteralString

from msgspec.structs import replace

from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import AttemptThrottled
from tollhouse.accounts.throttling import devices
from tollhouse.accounts.throttling.addresses import address_groups
from tollhouse.accounts.throttling.charges import (
    Charge,
    Counters,
    Factor,
    ThrottleRules,
    ThrottleVerdict,
    Window,
    rules_of,
)
from tollhouse.accounts.throttling.devices import DeviceToken
from tollhouse.accounts.throttling.local_counters import LocalCounters
from tollhouse.accounts.throttling.refusals import Refusals
from tollhouse.accounts.throttling.stored_counters import StoredCounters
from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import StoreError, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.logs import Log
from tollhouse.metrics import Metrics
from tollhouse.runtime.background import BackgroundTasks
from tollhouse.scripts import ScriptRunner
from tollhouse.settings.throttle import ThrottleSettings

SETTLE_S: Final = 2.0
"""How long it may take to uncount an attempt, before it stays charged."""

_REFUSERS: Final = ("account", "address", "everyone", "site")
"""What may refuse, in the order of the waits of a verdict."""

_log: Final = Log("tollhouse.accounts")


class Guess:
    """An attempt that is charged; `trusted` if nothing but the client's own device or session counts it.

    `outcome` is None until the guess is made; from then on the attempt stays charged, unless it is right.
    """

    def __init__(self, charge: Charge, verdict: ThrottleVerdict, counters: Counters) -> None:
        self.charge: Final = charge
        self.verdict: Final = verdict
        self.counters: Final = counters
        self.outcome: Literal["guessed", "right"] | None = None
        self.settling: asyncio.Task[None] | None = None

    @property
    def trusted(self) -> bool:
        """Whether the client has a trusted device of the account, or a live session of its user."""
        return self.verdict.trusted

    def on_begin(self) -> None:
        """Note that the guess is made now: its hash begins, or its code is compared."""
        self.outcome = "guessed"

    def on_match(self) -> None:
        """Note that the guess is right."""
        self.outcome = "right"


class Throttle:
    """Charges attempts, and settles them in tasks of their own, which a cancelled caller does not end."""

    def __init__(
        self,
        store: ScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        rules: ThrottleRules | None = None,
        *,
        namespace: Namespace = UNNAMED,
        local: LocalCounters | None = None,
        clock: MonotonicClock = monotonic_ms,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._stored = StoredCounters(store)
        self._local = LocalCounters() if local is None else local
        self._refusals = Refusals(clock=clock)
        self._keyring = keyring
        self._metrics = metrics
        self._rules = rules_of(ThrottleSettings()) if rules is None else rules
        self._names = namespace
        self._clock = clock
        self._random_bytes = random_bytes
        self._settle_s = settle_s
        self._tasks = BackgroundTasks()

    def cached_refusal(self, factor: Factor, name: str, client: LoginClient) -> AttemptThrottled | None:
        """Return a refusal that this process knows of; while there is one, a flood of attempts costs no store call."""
        return self._repeated(factor, self._charge(factor, name, client))

    def is_known_device(self, name: str, client: LoginClient) -> bool:
        """Return True if the client presents a device of the account, or a live session of its user.

        It asks no store, so the device may have lost its trust since; `begin` knows.
        """
        return client.session is not None or devices.device_of(self._keyring, name, client.device_token) is not None

    async def begin(self, factor: Factor, name: str, client: LoginClient) -> Guess | AttemptThrottled:
        """Charge an attempt at the account as a failure; or refuse it, which charges nothing.

        The caller ends it with `settle`, whatever happens.
        """
        charge = self._charge(factor, name, client)
        if (refusal := self._repeated(factor, charge)) is not None:
            return refusal
        charging = self._tasks.start(self._charged(charge), "tollhouse-charge")
        try:
            reservation = await asyncio.shield(charging)
        except asyncio.CancelledError:
            self._tasks.start(self._undo_when_charged(charging), "tollhouse-attempt")
            raise
        verdict = reservation.verdict
        if verdict.wait_ms == 0:
            self._metrics.throttle(factor, "trusted" if verdict.trusted else "admitted")
            return reservation
        refuser = max(zip(verdict.waits_ms, _REFUSERS, strict=False))[1]
        self._metrics.throttle(factor, refuser)
        return AttemptThrottled(retry_after_ms=verdict.wait_ms)

    def begin_to_settle(self, reservation: Guess) -> None:
        """Start to uncount what was no failure, by the outcome so far; do nothing the second time."""
        if reservation.settling is None and reservation.outcome != "guessed":
            self._refusals.evict(reservation.charge)
            reservation.settling = self._tasks.start(self._uncount(reservation), "tollhouse-settle")

    async def settle(self, reservation: Guess) -> None:
        """Uncount what was no failure, and wait until that is done, or has failed and is logged.

        A caller that is cancelled meanwhile ends none of it.
        """
        self.begin_to_settle(reservation)
        if reservation.settling is not None:
            await asyncio.wait([reservation.settling])

    def new_device(self, name: str, issued_ms: int, presented: str | None = None) -> DeviceToken:
        """Return what makes a device one of the account, after a login; values of other accounts are kept along.

        `issued_ms` is the time of the login, as the store tells it.
        """
        return devices.issue(self._keyring, name, issued_ms, presented, self._random_bytes)

    async def restore(self, name: str) -> None:
        """Begin the failures of the account anew: it has another password, at which no client has guessed.

        That the store cannot do it now is logged: what was proven stays proven.
        """
        await self._right(name, ThrottleVerdict(trusted=False, at_ms=0, device_wait_ms=0))

    async def end_row(self, name: str) -> None:
        """End the row of failures of the account, as a device does, for an owner who has shown another factor.

        So the password is good again for every client, after the waits. Errors are as for `restore`.
        """
        await self._right(name, ThrottleVerdict(trusted=True, at_ms=0, device_wait_ms=0))

    async def end_trust(self, name: str) -> None:
        """Trust no device of the account any more that was issued until now, as after a change of the password.

        That the store cannot do it now is logged: the password has changed.
        """
        ended = self._names.throttle_ended(self._digest("account", name))
        await self._warn("devices stay trusted", self._stored.end_trust(ended, self._rules.device_ms))

    def forget(self) -> None:
        """Drop what this process remembers of refusals, and what it counted during an outage."""
        self._refusals.clear()
        self._local.clear()

    async def aclose(self) -> None:
        """Wait for what is still charged or uncounted for callers that have left."""
        await self._tasks.aclose()

    async def _right(self, name: str, verdict: ThrottleVerdict) -> None:
        charge = replace(self._charge("password", name, LoginClient(address="")), windows=())
        self._refusals.evict(charge)
        await self._warn("failures stay counted", self._stored.settle(charge, verdict, right=True))

    async def _warn(self, lost: LiteralString, call: Awaitable[object]) -> None:
        """Await a call that may fail, and log then what is lost."""
        try:
            await call
        except StoreError as error:
            _log.warning(lost, extra={"reason": str(error)})

    def _repeated(self, factor: Factor, charge: Charge) -> AttemptThrottled | None:
        wait_ms = self._refusals.wait_of(charge)
        if wait_ms == 0:
            return None
        self._metrics.throttle(factor, "repeated")
        return AttemptThrottled(retry_after_ms=wait_ms)

    async def _charged(self, charge: Charge) -> Guess:
        """Return the attempt with its verdict: by the store, or by this process while the store does not answer."""
        sent_ms = self._clock()
        try:
            verdict = await self._stored.begin(charge)
        except StoreUnavailable:
            return Guess(charge, await self._local.begin(charge), self._local)
        self._local.clear()
        self._refusals.store(charge, verdict, sent_ms)
        return Guess(charge, verdict, self._stored)

    async def _undo_when_charged(self, charging: asyncio.Task[Guess]) -> None:
        reservation = await charging
        if reservation.verdict.wait_ms == 0:
            await self.settle(reservation)

    async def _uncount(self, reservation: Guess) -> None:
        # That the store cannot do it now is no reason to fail an attempt whose outcome is known.
        right = reservation.outcome == "right"
        try:
            async with asyncio.timeout(self._settle_s):
                await reservation.counters.settle(reservation.charge, reservation.verdict, right=right)
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._settle_s} s"
            _log.warning("attempt stays charged", extra={"reason": reason})

    def _charge(self, factor: Factor, name: str, client: LoginClient) -> Charge:
        """Return all that counts an attempt of the client at the account."""
        account, rules = self._digest("account", name), self._rules
        owner, issued_ms = self._owner(name, client)
        return Charge(
            account=self._names.throttle(factor, account),
            rule=rules.factors[factor],
            ended=self._names.throttle_ended(account if client.session is None else owner),
            device=self._names.throttle(f"{factor}-device", owner),
            device_rule=rules.device,
            issued_ms=issued_ms,
            windows=self._windows(client.address),
        )

    def _owner(self, name: str, client: LoginClient) -> tuple[str, int]:
        """Return what the client has of the account, as a digest, and since when; 0 if it has nothing.

        A live session is its own proof: the end of the trust in devices says nothing of it.
        """
        if client.session is not None:
            return self._digest("session", client.session.sid), client.session.created_at
        device = devices.device_of(self._keyring, name, client.device_token)
        if device is None:
            return self._digest("device", ""), 0
        return self._digest("device", device.nonce), device.issued_ms

    def _windows(self, address: str) -> tuple[Window, ...]:
        groups, rules = address_groups(address), self._rules
        windows = [
            Window(key=self._names.throttle("address", self._digest("address", groups.client)), rule=rules.address),
            Window(key=self._names.throttle("everyone"), rule=rules.everyone),
        ]
        if groups.site is not None:
            key = self._names.throttle("site", self._digest("address", groups.site))
            windows.append(Window(key=key, rule=rules.site))
        return tuple(windows)

    def _digest(self, kind: str, value: str) -> str:
        return self._keyring.digest(f"throttle-{kind}", value)
