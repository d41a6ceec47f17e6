"""Lets requests through, or answers them: what every way to limit a whole application has in common."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tollhouse.asgi.ratelimit.key_rules import resolve_key
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refusal_response import undecided_response
from tollhouse.asgi.ratelimit.request_context import CURRENT_REQUEST, RequestContext
from tollhouse.asgi.ratelimit.rules import CompiledRule, policies_in
from tollhouse.asgi.ratelimit.websocket import LimitedWebSocket
from tollhouse.asgi.response import HttpResponse, send_response
from tollhouse.asgi.types import App, Receive, Scope, Send, resolve
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited, Take, TakeAllResult
from tollhouse.limits.limiter import Limiter

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_log = logging.getLogger("tollhouse.asgi")


class Enforcer:
    """Stands in front of an application, and limits each request by the rule that it is given.

    A store that does not answer is 503, and a key that no limiter takes is 422, never 500: keys often hold what a
    client sent. In both cases the application does not see the request.
    """

    def __init__(self, source: LimiterSource) -> None:
        self._source = source

    async def serve(
        self,
        rule: CompiledRule,
        app: App,
        scope: Scope,
        receive: Receive,
        send: Send,
        path_parameters: Mapping[str, Any] = _NO_PARAMETERS,
    ) -> None:
        """Serve a request or a websocket; functions with a limit of their own find it while it is served."""
        limiter = self._source.opened_limiter() or await self._source.limiter()
        context = RequestContext(self._source, limiter, scope, send)
        if path_parameters:
            context.path_parameters = path_parameters
        token = CURRENT_REQUEST.set(context)
        try:
            refused = await _enforce(rule, context, limiter)
            if scope["type"] == "websocket":
                await LimitedWebSocket(rule, context, receive, send).serve(app, refused)
            elif refused is None:
                await app(scope, receive, context.send)
            else:
                await send_response(refused, send)
        except RateLimited as error:
            await context.respond(error)
        except Exception:
            context.on_error()
            raise
        finally:
            CURRENT_REQUEST.reset(token)
            context.detach()
            if context.leases is not None or context.refund is not None:
                await context.release()


async def _enforce(rule: CompiledRule, context: RequestContext, limiter: Limiter) -> HttpResponse | None:
    """Take what the rule says; None where the request may pass."""
    name = rule.only_policy
    if name is None or (policy := context.policies.get(name)) is None or policy.is_concurrency:
        return await _enforce_in_full(rule, context, limiter)
    key = rule.key_finder(name, policy)(context)
    if type(key) is not str:
        key = await resolve_key(key, context)
    try:
        decision = await limiter.take(name, key, rule.cost)
    except (StoreError, InvalidInput) as error:
        return _undecided(error, (name,))
    if not decision.allowed:
        return context.refusal_response(decision)
    context.decisions = (decision,)
    if rule.is_charged is not None:
        context.is_charged, context.refundable = rule.is_charged, context.decisions
    return None


async def _enforce_in_full(rule: CompiledRule, context: RequestContext, limiter: Limiter) -> HttpResponse | None:
    names = (
        rule.policies
        if rule.choose_policies is None
        else policies_in(await resolve(rule.choose_policies, context.scope))
    )
    cost = rule.cost if rule.choose_cost is None else await resolve(rule.choose_cost, context.scope)
    try:
        return await _take(rule, context, limiter, names, cost)
    except (StoreError, InvalidInput) as error:
        return _undecided(error, names)


async def _take(
    rule: CompiledRule, context: RequestContext, limiter: Limiter, names: Sequence[str], cost: int | None
) -> HttpResponse | None:
    """Hold the permits first: if the rest refuses, they are given back, and nothing was charged."""
    takes: list[Take] = []
    for name in names:
        policy = context.policies.get(name)
        key = await resolve_key(rule.key_finder(name, policy)(context), context)
        if policy is None or not policy.is_concurrency:
            takes.append(Take(policy=name, key=key, cost=cost))
            continue
        held = await context.hold(limiter, name, key)
        if not held.allowed:
            return context.refusal_response(held)
    if not takes:
        return None
    if len(takes) == 1:
        decision = await limiter.take(takes[0].policy, takes[0].key, cost)
        return _apply(rule, context, decision, (decision,))
    together = await limiter.take_all(takes)
    return _apply(rule, context, together, together.decisions)


def _apply(
    rule: CompiledRule, context: RequestContext, outcome: Decision | TakeAllResult, decisions: tuple[Decision, ...]
) -> HttpResponse | None:
    if not outcome.allowed:
        return context.refusal_response(outcome)
    context.decisions = (*context.decisions, *decisions)
    context.refundable, context.is_charged = decisions, rule.is_charged
    return None


def _undecided(error: StoreError | InvalidInput, policies: Sequence[str]) -> HttpResponse:
    if isinstance(error, StoreError):
        _log.debug("limit not decided", extra={"policy": policies[0], "reason": str(error)})
    return undecided_response(error, policies)
