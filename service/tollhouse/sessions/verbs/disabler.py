"""Disabled users: they have no sessions and get none, until they are enabled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import Steps
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.revocations import UserStatus
from tollhouse.sessions.revoker import Revoker
from tollhouse.sessions.tokens import RandomBytes
from tollhouse.sessions.user_keys import UserKeys, user_keys
from tollhouse.sessions.validation import valid_user


class DisableResult(Struct, frozen=True, kw_only=True):
    """The user is disabled; `removed` counts the sessions that were still in the index."""

    removed: int
    durable: bool


class EnableResult(Struct, frozen=True, kw_only=True):
    """The user may log in."""

    durable: bool


class Disabler:
    """Disables and enables users; the revocation log has both, and replays them on new primaries."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        namespace: Namespace,
        revoker: Revoker,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace
        self._revoker = revoker
        self._random_bytes = random_bytes

    async def disable(self, user: str) -> DisableResult:
        """Disable a user, as `Sessions.disable` does: that ends the sessions, and their records are removed then."""
        with Steps() as steps:
            durable = await self._set(user, steps, disabled=True)
            revoked = await self._revoker.revoke_all(user, None, "disabled")
        self._metrics.session("disable", "ok")
        return DisableResult(removed=revoked.removed, durable=durable and revoked.durable)

    async def enable(self, user: str) -> EnableResult:
        """Enable a user, as `Sessions.enable` does."""
        with Steps() as steps:
            durable = await self._set(user, steps, disabled=False)
        self._metrics.session("enable", "ok")
        return EnableResult(durable=durable)

    async def is_disabled(self, user: str) -> bool:
        """Return whether a user is disabled, as `Sessions.is_disabled` does."""
        statuses = await self._statuses(*user_keys(self._namespace, self._keyring, valid_user(user)))
        self._metrics.session("is_disabled", "ok")
        return max(statuses)[1] == 1

    async def take_along(self, user: str, steps: Steps) -> None:
        """Disable a user under the newest secret too, who was disabled under an older one when that was the newest.

        What was written last decides. With one secret nothing is asked for.
        """
        own, *older = user_keys(self._namespace, self._keyring, user)
        if not older:
            return
        (own_ms, _), *others = await self._statuses(own, *older)
        since_ms, disabled = max(others)
        if disabled == 1 and since_ms > own_ms:
            name = tokens.new_sid(self._random_bytes)
            status = UserStatus(user=user, digest=own.digest, name=name, disabled=True, epoch_ms=since_ms)
            await self._write(status, steps)

    async def _statuses(self, *keys: UserKeys) -> Sequence[tuple[int, int]]:
        """Return since when a user has a status under each secret, 0 if never, and 1 if that is to be disabled."""
        replies = await asyncio.gather(*(self._store.run("sessions/status", (own.epoch,), ()) for own in keys))
        return [(since_ms, disabled) for disabled, since_ms in replies]

    async def _set(self, user: str, steps: Steps, *, disabled: bool) -> bool:
        """Write the status under every secret; return whether that is durable."""
        user, name, durable = valid_user(user), tokens.new_sid(self._random_bytes), True
        for own in user_keys(self._namespace, self._keyring, user):
            status = UserStatus(user=user, digest=own.digest, name=name, disabled=disabled)
            durable = await self._write(status, steps) and durable
        return durable

    async def _write(self, status: UserStatus, steps: Steps) -> bool:
        """Write a status under one secret, unless a later one is there; return whether it is durable."""
        replays = self._revoker.replays
        (since_ms,), confirmed = await self._store.run_durably(*status.call(self._namespace))
        steps.begun = True
        await self._revoker.record(replace(status, epoch_ms=since_ms), replays)
        return confirmed
