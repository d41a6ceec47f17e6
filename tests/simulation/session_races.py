"""Random races over one session: clients in several processes, calls that are late, lost or come twice, and ends.

The sessions are the real ones, and so are their scripts; the server is the keyspace of the simulation, and time is
virtual: a seed repeats its races. Its processes share no revocation log, so the scripts alone decide.

Beginnings and ends of calls are counted, and a call comes after another one if it began when that one had ended.
What must hold then:

- no token opens a session whose revocation, by whatever verb, was answered before; nor after a rotation a former one;
- no change of data that was answered is lost, sums add up, versions grow, and a value is taken once;
- a disabled user gets no session;
- a browser whose tabs renew its token side by side is never anonymous, and ends with one token that is good;
- the former token of a browser is no theft, but is one when it comes after its grace.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Mapping, Sequence
from itertools import count
from typing import Any, Final

from msgspec import Struct

from tests.simulation.history import Chain
from tests.simulation.loop import VirtualLoop, run
from tests.simulation.race_server import KEYRING
from tests.simulation.session_server import LATE_S, TEXTS, SessionLink, SessionServer
from tests.simulation.session_uses import ENDS, Use, data_faults, faults
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued, SessionRefused
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.data_editor import DataRefused
from tollhouse.sessions.verbs.rotator import GRACE_MS

RACES_PER_HISTORY: Final = 10
_METRICS: Final = Metrics()
_PROCESSES: Final = 3
_RENEW_S: Final = 60
_ENDINGS: Final = (
    *(["revoke"], ["revoke_all"], ["disable"], ["rotate"], ["rotate", "rotate"], ["revoke", "rotate"], []) * 3,
    ["everyone"],
)
"""What happens to a session while it is used; the last of them are 256 calls."""
_POLICIES: Final = {
    "default": SessionPolicy(idle_ms=3_600_000, absolute_ms=86_400_000, renew_ms=_RENEW_S * 1000),
}
_VERBS: Final = ("verify", "verify", "verify", "passive", "data", "patch", "patch", "put", "increment", "take", "renew")


class Tally(Struct, kw_only=True):
    """The counts of a run, and what was wrong in it."""

    races: int = 0
    uses: int = 0
    refused: int = 0
    renewed: int = 0
    unanswered: int = 0
    wrong: list[str] = []


class Race:
    """One race over one session of a user of its own."""

    def __init__(self, number: int, server: SessionServer, links: Sequence[SessionLink], rng: random.Random) -> None:
        self._user = f"user {number}"
        self._server = server
        self._rng = rng
        self._processes = [Sessions(link, KEYRING, _METRICS, _POLICIES, random_bytes=rng.randbytes) for link in links]
        self._order = count()
        self._names = count()
        self.uses: list[Use] = []
        self.wrong: list[str] = []

    async def run_ends(self) -> None:
        """Race uses of a session against what ends it or replaces its secret."""
        await self._begin()
        rng = self._rng
        await asyncio.sleep(rng.choice((0, 0, _RENEW_S, 3 * _RENEW_S)))
        span_s = rng.choice((0.01, 0.01, 0.1, 1))
        clients = [self._client(rng.random() * span_s) for _ in range(rng.randint(3, 6))]
        ends = rng.choice(_ENDINGS)
        enders = [self._later(rng.random() * span_s, self._end(verb)) for verb in ends]
        await asyncio.gather(*clients, *enders)
        await self._judge()

    async def run_tabs(self) -> None:
        """Race the tabs of one browser, which share its cookie, over the moments at which its token is renewed."""
        await self._begin()
        rng = self._rng
        tabs = [self._tab(rng.randint(1, 4)) for _ in range(rng.randint(2, 8))]
        await asyncio.gather(*tabs)
        await self._judge()
        await self._judge_tokens()

    async def aclose(self) -> None:
        """Wait for touches."""
        for process in self._processes:
            await process.aclose()

    async def _begin(self) -> None:
        issued = await self._process().create(self._user)
        assert isinstance(issued, Issued)
        self._sid = issued.session.sid
        self._chain = Chain(issued.token)
        self._cookie = issued.token

    def _process(self) -> Sessions:
        return self._rng.choice(self._processes)

    async def _later(self, after_s: float, work: Awaitable[None]) -> None:
        await asyncio.sleep(after_s)
        await work

    async def _client(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        for _ in range(self._rng.randint(1, 4)):
            known = self._chain.tokens
            token = self._chain.latest if self._rng.random() < 0.6 else self._rng.choice(known)
            await self._use(self._rng.choice(_VERBS), token)

    async def _use(self, verb: str, token: Token) -> Any:
        name = f"c{next(self._names)}"
        used = await self._record(verb, token, name, self._call(verb, token, name))
        if verb == "renew" and used is not None:
            self._chain.renew(token, used.token)
        return used

    def _call(self, verb: str, token: Token, name: str) -> Awaitable[Any]:
        sessions = self._process()
        match verb:
            case "verify" | "passive":
                return sessions.verify(token, passive=verb == "passive")
            case "data":
                return sessions.data(token)
            case "patch":
                return sessions.patch(token, {name: name})
            case "put":
                return sessions.patch(token, {"taken": name})
            case "take":
                return sessions.take(token, "taken")
            case "increment":
                return sessions.increment(token, "sum")
            case "renew":
                return sessions.renew(token)
            case _:
                return sessions.rotate(token)

    async def _end(self, verb: str) -> None:
        token, sessions = self._chain.latest, self._process()
        match verb:
            case "rotate":
                rotated = await self._record(verb, token, "", sessions.rotate(token))
                if rotated is not None:
                    self._chain.rotate(rotated.token)
            case "revoke":
                await self._record(verb, None, "", sessions.revoke(self._user, self._sid))
            case "revoke_all":
                await self._record(verb, None, "", sessions.revoke_all(self._user))
            case "everyone":
                await self._record(verb, None, "", sessions.revoke_everyone())
            case _:
                await self._record(verb, None, "", sessions.disable(self._user))
                await self._record("login", None, "", self._process().create(self._user))
                await self._record("enable", None, "", self._process().enable(self._user))

    async def _record(self, verb: str, token: Token | None, name: str, work: Awaitable[Any]) -> Any:
        """Perform a call, and record it; return its result, None if it was refused or had no answer."""
        began = next(self._order)
        try:
            value = await work
        except StoreUnavailable:
            self.uses.append(Use(verb, token, name, began, None, None))
            return None
        value = None if isinstance(value, DataRefused | SessionRefused) else value
        self.uses.append(Use(verb, token, name, began, next(self._order), value))
        return value

    async def _tab(self, requests: int) -> None:
        """Send requests with the cookie of the browser, renew it if that is due, and store what comes back."""
        rng = self._rng
        for _ in range(requests):
            await asyncio.sleep(rng.choice((0, 0.001, 3, _RENEW_S, _RENEW_S, _RENEW_S + 0.001, 200)))
            token = self._cookie
            session = await self._use(rng.choice(("verify", "verify", "passive")), token)
            if session is None:
                self.wrong.append("a tab was anonymous")
            elif session.renewal_due:
                renewed = await self._use("renew", token)
                if renewed is None:
                    self.wrong.append("a tab was anonymous at a renewal")
                elif rng.random() < 0.8:
                    self._cookie = renewed.token

    async def _judge(self) -> None:
        """Compare the history with what must hold, and with what is there when all is quiet."""
        await asyncio.sleep(LATE_S)
        quiet, last = self._quiet(), self._chain.latest
        session, data = await quiet.verify(last, passive=True), await quiet.data(last)
        await quiet.aclose()
        self.wrong += faults(self.uses, self._chain)
        if any(use.verb in ENDS for use in self.uses) and session is not None:
            self.wrong.append("the session lives on")
        elif not any(use.verb in ENDS for use in self.uses) and session is None:
            self.wrong.append("the session was lost")
        enabled = any(use.verb == "enable" for use in self.uses)
        if enabled and not isinstance(await quiet.create(self._user), Issued):
            self.wrong.append("a user who was enabled is disabled")
        if data is not None:
            self.wrong += data_faults(self.uses, data.values)

    def _quiet(self) -> Sessions:
        return Sessions(_Quiet(self._server), KEYRING, _METRICS, _POLICIES)

    async def _judge_tokens(self) -> None:
        """Check that one token is left when the graces are over, and that the one before it is a theft then."""
        quiet = self._quiet()
        *former, last = self._chain.tokens
        await self._opens(quiet, last, expected=True, what="the last token")
        await asyncio.sleep((GRACE_MS + 1_000) / 1000)
        for token in former[:-1]:
            await self._opens(quiet, token, expected=False, what="a token of long ago")
        await self._opens(quiet, last, expected=True, what="the last token, after old ones")
        for token in former[-1:]:
            await self._opens(quiet, token, expected=False, what="a former token after its grace")
            await self._opens(quiet, last, expected=False, what="the token of a thief")

    async def _opens(self, quiet: Sessions, token: Token, *, expected: bool, what: str) -> None:
        session = await quiet.verify(token)
        await quiet.aclose()
        if (session is not None) != expected:
            self.wrong.append(f"{what} opens {'nothing' if expected else 'the session'}")


class _Quiet:
    """A store without delays."""

    def __init__(self, server: SessionServer) -> None:
        self._server = server

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any], *, waited_ms: int = 0) -> Any:
        del waited_ms
        return self._server.run(script, keys, args)

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> tuple[Any, bool]:
        return await self.run(script, keys, args), False


def race_sessions(seeds: Sequence[int], texts: Mapping[str, str] = TEXTS) -> Tally:
    """Run races of both kinds for each seed; return what was counted."""
    tally = Tally()
    for seed in seeds:

        async def main(loop: VirtualLoop, seed: int = seed) -> None:
            rng = random.Random(seed)
            server = SessionServer(loop, texts)
            links = [SessionLink(server, loop, rng) for _ in range(_PROCESSES)]
            for number in range(RACES_PER_HISTORY):
                race = Race(number, server, links, rng)
                await (race.run_tabs() if number % 2 else race.run_ends())
                await race.aclose()
                _count(tally, seed, race)

        run(main)
    return tally


def _count(tally: Tally, seed: int, race: Race) -> None:
    tally.races += 1
    tally.uses += len(race.uses)
    tally.refused += sum(use.ended is not None and use.value is None for use in race.uses)
    tally.unanswered += sum(use.ended is None for use in race.uses)
    tally.renewed += sum(use.verb == "renew" and use.value is not None for use in race.uses)
    tally.wrong += [f"seed {seed}: {text}" for text in race.wrong]
