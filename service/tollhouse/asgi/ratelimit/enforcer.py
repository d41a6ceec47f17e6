"""Lets requests through, or answers them: what every way to limit a whole application has in common."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tollhouse.asgi.ratelimit.answer import respond
from tollhouse.asgi.ratelimit.key_rules import settled
from tollhouse.asgi.ratelimit.limiter_source import Source
from tollhouse.asgi.ratelimit.refusal_response import Refusal, invalid, unavailable
from tollhouse.asgi.ratelimit.request_context import VISIT, Visit
from tollhouse.asgi.ratelimit.rules import Plan, names_of
from tollhouse.asgi.ratelimit.websocket import Socket
from tollhouse.asgi.types import App, Receive, Scope, Send, resolve
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, Take, Together
from tollhouse.limits.limited import RateLimited
from tollhouse.limits.limiter import Limiter

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_log = logging.getLogger("tollhouse.asgi")


class Gate:
    """Stands in front of an application, and limits each request by the plan that it is given.

    A store that does not answer is 503, and a key that no limiter takes is 422, never 500: keys often hold what a
    client sent. In both cases the application does not see the request.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    async def serve(
        self,
        plan: Plan,
        app: App,
        scope: Scope,
        receive: Receive,
        send: Send,
        path_parameters: Mapping[str, Any] = _NO_PARAMETERS,
    ) -> None:
        """Serve a request or a websocket; functions with a limit of their own find it while it is served."""
        limiter = self._source.ready() or await self._source.limiter()
        visit = Visit(self._source, limiter, scope, send)
        if path_parameters:
            visit.path_parameters = path_parameters
        token = VISIT.set(visit)
        try:
            refused = await _asked(plan, visit, limiter)
            if scope["type"] == "websocket":
                await Socket(plan, visit, receive, send).serve(app, refused)
            elif refused is None:
                await app(scope, receive, visit.send)
            else:
                await respond(refused, send)
        except RateLimited as error:
            await visit.answer(error)
        except Exception:
            visit.failed()
            raise
        finally:
            VISIT.reset(token)
            visit.leave()
            if visit.leases is not None or visit.refund is not None:
                await visit.finish()


async def _asked(plan: Plan, visit: Visit, limiter: Limiter) -> Refusal | None:
    """Take what the plan says; None where the request may pass."""
    name = plan.only
    if name is None or (policy := visit.policies.get(name)) is None or policy.is_concurrency:
        return await _asked_in_full(plan, visit, limiter)
    key = plan.subject_of(name, policy)(visit)
    if type(key) is not str:
        key = await settled(key, visit)
    try:
        decision = await limiter.take(name, key, plan.cost)
    except (StoreError, InvalidInput) as error:
        return _undecided(error, (name,))
    if not decision.allowed:
        return visit.refusal(decision)
    visit.decisions = (decision,)
    if plan.charged is not None:
        visit.charged, visit.taken = plan.charged, visit.decisions
    return None


async def _asked_in_full(plan: Plan, visit: Visit, limiter: Limiter) -> Refusal | None:
    names = plan.names if plan.choose is None else names_of(await resolve(plan.choose, visit.scope))
    cost = plan.cost if plan.ask_cost is None else await resolve(plan.ask_cost, visit.scope)
    try:
        return await _decided(plan, visit, limiter, names, cost)
    except (StoreError, InvalidInput) as error:
        return _undecided(error, names)


async def _decided(
    plan: Plan, visit: Visit, limiter: Limiter, names: Sequence[str], cost: int | None
) -> Refusal | None:
    """Hold the permits first: if the rest refuses, they are given back, and nothing was charged."""
    takes: list[Take] = []
    for name in names:
        policy = visit.policies.get(name)
        key = await settled(plan.subject_of(name, policy)(visit), visit)
        if policy is None or not policy.is_concurrency:
            takes.append(Take(policy=name, key=key, cost=cost))
            continue
        held = await visit.hold(limiter, name, key)
        if not held.allowed:
            return visit.refusal(held)
    if not takes:
        return None
    if len(takes) == 1:
        decision = await limiter.take(takes[0].policy, takes[0].key, cost)
        return _outcome(plan, visit, decision, (decision,))
    together = await limiter.take_all(takes)
    return _outcome(plan, visit, together, together.decisions)


def _outcome(plan: Plan, visit: Visit, outcome: Decision | Together, decisions: tuple[Decision, ...]) -> Refusal | None:
    if not outcome.allowed:
        return visit.refusal(outcome)
    visit.decisions = (*visit.decisions, *decisions)
    visit.taken, visit.charged = decisions, plan.charged
    return None


def _undecided(error: StoreError | InvalidInput, names: Sequence[str]) -> Refusal:
    """Answer where there is no decision; raise what is a mistake of the application's own."""
    if isinstance(error, StoreError):
        _log.debug("limit not decided", extra={"policy": names[0], "reason": str(error)})
        return unavailable(names)
    if error.field.rpartition(".")[2] != "key":
        raise error
    return invalid(error)
