"""Simulated processes: each has stores, sessions and a revocation log of its own, and performs calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tests.simulation.history import Done, History, Outcome, change_name, device_of, shown, user_name
from tests.simulation.network import Network
from tests.simulation.schedules import Call
from tollhouse import scripts
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.sessions.policies import POLICIES, RENEW_MS_MIN
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.tokens import Token
from tollhouse.stores.discovery.primary_history import Generation
from tollhouse.stores.opening import open_stores
from tollhouse.stores.transport.redial import TIMING
from tollhouse.stores.urls import urls_by_store
from tollhouse.wiring import open_sessions

KEYRING: Final = Keyring(secrets=(b"a secret for simulations, of 32 bytes or more",))
SCRIPTS: Final = {name: script for name, script in scripts.load().items() if name.startswith("sessions/")}
DEADLINE_S: Final = 1.0
REJOIN_S: Final = 2.0
"""A process that was cut off uses the primary of before for no longer than this after the links are healed."""
_POLICIES: Final = {"default": msgspec.structs.replace(POLICIES["default"], renew_ms=RENEW_MS_MIN)}
METRICS: Final = Metrics()
"""Of all simulated processes: what they count is written and never read."""


class Client:
    """One process, on a machine of its own; its number is never used again, its machine is."""

    def __init__(
        self,
        number: int,
        place: int,
        url: str,
        network: Network,
        rng: random.Random,
        max_unreplicated_ms: int | None = None,
        sentinels: Sequence[str] = (),
    ) -> None:
        bound_s = None if max_unreplicated_ms is None else max_unreplicated_ms / 1000
        self.number = number
        self._ip = client_ip(place)
        self._sentinels = sentinels
        self._dialer = network.dialer(self._ip)
        self.stores = open_stores(
            urls_by_store(url, {}),
            SCRIPTS,
            METRICS,
            dialer=self._dialer,  # type: ignore[arg-type] - it is one by its method
            monotonic_s=network.loop.time,
            jitter=rng.uniform,
            deadline_s=DEADLINE_S,
            timing=msgspec.structs.replace(TIMING, max_unreplicated_s=bound_s),
        )
        log = RevocationLog(clock=network.loop.time)
        self.sessions = open_sessions(
            self.stores.sessions, KEYRING, METRICS, _POLICIES, revocation_log=log, random_bytes=rng.randbytes
        )
        self._generation = 0
        self._network = network
        self._loop = network.loop

    @property
    def primary(self) -> str:
        """Return the address of the primary that the process uses; empty before the first."""
        health = self.stores.sessions.health()
        generation = None if health is None else health.generation
        return "" if generation is None else f"{generation.address.host}:{generation.address.port}"

    async def perform(self, call: Call, history: History) -> None:
        """Perform a call and record how it ended; nothing if its session was never issued."""
        chain = history.chains.get(call.session)
        if call.session and chain is None:
            return
        token = None if chain is None else chain.former if call.former else chain.latest
        began_s, cut_off = self._loop.time(), self._is_cut_off()
        outcome, value = await self._outcome(call, token)
        done = Done(
            process=self.number,
            place=self.primary,
            call=call,
            began_s=began_s,
            ended_s=self._loop.time(),
            outcome=outcome,
            value=value,
            cut_off=cut_off,
            token=token,
        )
        history.add(done)
        self._note(done)
        health = self.stores.sessions.health()
        if health is not None and (generation := health.generation) is not None:
            self._note_generation(generation, history)

    def end(self) -> None:
        """Reset every connection without notice, and dial no other: the process is gone."""
        self._dialer.end()

    async def aclose(self) -> None:
        """Close what the process opened, when the touches are over."""
        await self.sessions.aclose()
        await self.stores.aclose()

    async def _outcome(self, call: Call, token: Token | None) -> tuple[Outcome, Any]:
        work = asyncio.ensure_future(self._perform(call) if token is None else self._present(call, token))
        if call.cancel_ms is not None:
            self._loop.call_later(call.cancel_ms / 1000, work.cancel)
        try:
            return "ok", await work
        except StoreUnavailable as error:
            return "unavailable", f"{error.outcome}: {error.reason}"
        except asyncio.CancelledError:
            return "cancelled", None
        except Exception as error:  # noqa: BLE001 - whatever it is, the run reports it
            return "defect", f"{type(error).__name__}: {error}"

    async def _perform(self, call: Call) -> Any:
        user = user_name(call.user)
        match call.verb:
            case "create":
                return await self.sessions.create(user, device=device_of(call.number))
            case "revoke_all":
                return await self.sessions.revoke_all(user)
            case "disable":
                return await self.sessions.disable(user)
            case "enable":
                return await self.sessions.enable(user)
            case _:
                return await self.sessions.list(user)

    async def _present(self, call: Call, token: Token) -> Any:
        """Perform a call about one session, which its token authorizes."""
        match call.verb:
            case "revoke":
                return await self.sessions.revoke(user_name(call.user), token.sid)
            case "rotate":
                return await self.sessions.rotate(token)
            case "renew":
                return await self.sessions.renew(token)
            case "patch":
                return await self.sessions.patch(token, {change_name(call.number): call.number})
            case _:
                return await self.sessions.verify(token)

    def _is_cut_off(self) -> bool:
        apart = [ip for ip in self._sentinels if self._network.were_apart(self._ip, ip, REJOIN_S)]
        return len(apart) * 2 > len(self._sentinels)

    def _note_generation(self, generation: Generation, history: History) -> None:
        place = f"{generation.address.host}:{generation.address.port}"
        history.generations.append((self.number, generation.number, place))
        if generation.number != self._generation:
            self._generation = generation.number
            history.adopted.append((self.number, place, generation.at_s))
            text = f"process {self.number}: generation {generation.number} is {place}, {generation.why}"
            self._network.note(f"{text} since {generation.at_s * 1000:.1f} ms")

    def _note(self, done: Done) -> None:
        call = done.call
        about = f" of #{call.session}" if call.session else ""
        took_ms = (done.ended_s - done.began_s) * 1000
        self._network.note(
            f"process {self.number}: #{call.number} {call.verb}{about} for user {call.user}: {done.outcome}"
            f" {shown(done.value)} after {took_ms:.1f} ms"
        )


def client_ip(number: int) -> str:
    """Return the machine of a process."""
    return f"10.0.9.{number + 1}"
