"""Challenges: what an authenticator signs, so that its answer is good for one purpose, for five minutes, and once.

A challenge is 16 random bytes, the time at which it ends, and a MAC of both, of its purpose and of what it is bound to,
under a key of the deployment. So to ask for one costs the store nothing, and a flood of requests keeps nothing there.
Only one whose answer was right is stored, as spent. The secrets of before are good, too, while they are configured.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final, Literal

from tollhouse.clock import UnixClock
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions.tokens import RandomBytes

LIFE_MS: Final = 300_000
"""For so long a challenge is good."""

Purpose = Literal["login", "second-step", "step-up", "register"]
"""What an answer is for: a challenge of one is no good for another."""

_LABEL: Final = "passkey-challenge"
_RANDOM_BYTES: Final = 16
_END_BYTES: Final = 6
_MAC_BYTES: Final = 16
CHALLENGE_BYTES: Final = _RANDOM_BYTES + _END_BYTES + _MAC_BYTES
_CALL_BYTES: Final = 8
_SPENT_MS: Final = 2 * LIFE_MS
"""How long a spent challenge is known: to its end, and as much longer as the clock of another process may be behind."""


class Challenges:
    """Makes challenges, and spends those that were answered; `clock` is that of this process."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        namespace: Namespace,
        clock: UnixClock,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._namespace = namespace
        self._clock = clock
        self._random_bytes = random_bytes

    def make(self, purpose: Purpose, bound: str = "") -> bytes:
        """Return a new challenge; `bound` is what an answer must have come with, such as the id of a session."""
        head = self._random_bytes(_RANDOM_BYTES) + (self._clock() + LIFE_MS).to_bytes(_END_BYTES)
        return head + self._mac(self._keyring.key_ids()[0], head, purpose, bound)

    def is_good(self, challenge: bytes, purpose: Purpose, bound: str = "") -> bool:
        """Return whether a challenge is one of ours, for this purpose and what it is bound to, and not over."""
        if len(challenge) != CHALLENGE_BYTES:
            return False
        head, mac = challenge[:-_MAC_BYTES], challenge[-_MAC_BYTES:]
        macs = [self._mac(key_id, head, purpose, bound) for key_id in self._keyring.key_ids()]
        ours = any([hmac.compare_digest(mac, one) for one in macs])  # noqa: C419 - as many comparisons for each
        return ours and self._clock() < int.from_bytes(head[_RANDOM_BYTES:])

    async def use_up(self, challenge: bytes) -> bool:
        """Note that a good challenge was answered rightly; return False if another call has spent it."""
        key = self._namespace.spent_challenge(challenge[:_RANDOM_BYTES].hex())
        args = (self._random_bytes(_CALL_BYTES).hex(), _SPENT_MS)
        (spent,), _ = await self._store.run_durably("accounts/spend_challenge", (key,), args)
        return spent == 1

    def _mac(self, key_id: str, head: bytes, purpose: Purpose, bound: str) -> bytes:
        key = self._keyring.key(_LABEL, key_id)
        assert key is not None, "the key ids are those of the keyring"
        return hmac.digest(key, head + f"{purpose}\n{self._namespace.name}\n{bound}".encode(), "sha256")[:_MAC_BYTES]
