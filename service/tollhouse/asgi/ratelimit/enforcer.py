"""Enforces a rule on each request: shared by the ASGI middleware and the Litestar plugin."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from tollhouse.asgi.ratelimit.current import CURRENT_REQUEST
from tollhouse.asgi.ratelimit.key_rules import resolve_key
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refusal_handlers import HandlerLookup, RefusalHandler, own_response
from tollhouse.asgi.ratelimit.refusal_response import LimitError, is_answered, refusal_of
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.asgi.ratelimit.rules import CompiledRule, RateLimitRule, compile_rule, is_preflight
from tollhouse.asgi.ratelimit.websocket import LimitedWebSocket
from tollhouse.asgi.response import HttpResponse
from tollhouse.asgi.types import App, Receive, Scope, Send, resolve
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited, Take, TakeAllResult
from tollhouse.logs import Log

_log = Log("tollhouse.asgi")


class Enforcer:
    """Limits each request by a rule before the application sees it.

    A store that does not answer is 503, and a key or a cost of the request that no limiter accepts is 422, never 500:
    they often hold what a client sent. In both cases the application does not see the request. CORS preflights follow
    `no_rule`, which limits nothing, unless `preflights` is true. The response to a refusal is made by `on_refusal` of
    the rule, else by what the framework has for RateLimited, else it is ours.
    """

    def __init__(
        self,
        source: LimiterSource,
        *,
        preflights: bool = False,
        on_refusal: RefusalHandler | None = None,
        framework_handler: HandlerLookup,
    ) -> None:
        self.no_rule = compile_rule(None, source, RateLimitRule(on_refusal=on_refusal))
        self._framework_handler = framework_handler
        self._source = source
        self._exempts_preflights = not preflights

    async def serve(
        self,
        rule: CompiledRule,
        app: App,
        scope: Scope,
        receive: Receive,
        send: Send,
        path_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Serve a request or a websocket; functions with `@limit` find its context while it is served."""
        if scope.get("method") == "OPTIONS" and self._exempts_preflights and is_preflight(scope):
            rule = self.no_rule
        limiter = self._source.opened_limiter() or await self._source.limiter()
        context = RequestContext(self._source, limiter, scope, send)
        if path_parameters:
            context.path_parameters = path_parameters
        if rule.on_refusal is not None:
            context.outermost.own_response = own_response(rule.on_refusal, scope, receive)
        send = context.send if context.outer is None else send
        token = CURRENT_REQUEST.set(context)
        try:
            started = rule.start(context)
            refused = None if context.admits(started) else await _enforce(rule, context, started)
            if refused is None and scope["type"] == "http":
                await app(scope, receive, send)
            else:
                await self._serve_otherwise(refused, rule, app, context, receive, send)
        except (RateLimited, InvalidInput, StoreError) as error:
            await _respond(context.outermost, error, send)
        except BaseException:
            context.fail()
            raise
        finally:
            CURRENT_REQUEST.reset(token)
            context.detach()
            if context.leases is not None or context.refunds:
                await context.release()

    async def _serve_otherwise(
        self,
        refused: HttpResponse | None,
        rule: CompiledRule,
        app: App,
        context: RequestContext,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send a refusal, or serve a websocket, which may be refused too."""
        if refused is not None:
            self._bring_to_framework(context, receive)
        if context.scope["type"] == "websocket":
            await LimitedWebSocket(rule, context, receive, send).serve(app, refused)
        elif refused is not None:
            await context.outermost.send_refusal(refused, send)

    def _bring_to_framework(self, context: RequestContext, receive: Receive) -> None:
        """Set the exception handlers of the framework to make the response to a refusal, unless an edge does."""
        request = context.outermost
        if request.own_response is None:
            handler = self._framework_handler(context.scope)
            request.own_response = None if handler is None else own_response(handler, context.scope, receive)


async def _enforce(
    rule: CompiledRule, context: RequestContext, started: Decision | Awaitable[Decision] | None
) -> HttpResponse | None:
    """Take what the rule says, or await what has begun; return None if the request may pass, else what refuses it."""
    if isinstance(started, Decision):
        return _response(started, rule, context)
    names: Sequence[str] = rule.policies
    cost = rule.cost
    if rule.chosen is not None:
        names = await rule.choose(context)
    if rule.choose_cost is not None:
        cost = await resolve(rule.choose_cost, context.scope)
    try:
        if started is None:
            outcome = await _take(rule, context, names, cost)
        else:
            outcome = await started
    except (StoreError, InvalidInput) as error:
        if not is_answered(error, rule.of_client):
            raise
        _log.debug("limit not decided", extra={"policies": list(names), "reason": str(error)})
        return context.outermost.refuse(error, names)
    if outcome is None or (rule.is_charged is None and context.admits(outcome)):
        return None
    return _response(outcome, rule, context)


async def _respond(request: RequestContext, error: LimitError, send: Send) -> None:
    """Send the response to what a limit raised, unless it replaced the framework's 500 already.

    Raises the error if the response has started, and if no limit of this request raised it.
    """
    if request.sends_refusal and request.started:
        return
    if request.sends_refusal or request.started or not request.is_answered(error):
        request.fail()
        raise error
    await request.send_refusal(request.refuse(refusal_of(error)), send)


def _response(outcome: Decision | TakeAllResult, rule: CompiledRule, context: RequestContext) -> HttpResponse | None:
    request = context.outermost
    decisions = outcome.decisions if isinstance(outcome, TakeAllResult) else (outcome,)
    if request is not context:
        for policy in (context.policies.get(decision.policy) for decision in decisions):
            if policy is not None:
                request.add_policy(policy)
    if not outcome.allowed:
        return request.refuse(outcome)
    for decision in decisions:
        request.add_decision(decision)
    request.add_charge((context.limiter, decisions, rule.is_charged))
    return None


async def _take(
    rule: CompiledRule, context: RequestContext, names: Sequence[str], cost: int | None
) -> Decision | TakeAllResult | None:
    """Return the outcome of all policies, or the first lease that was refused; None if there were only leases.

    Leases come first: if the rest refuses, they are released, and nothing was charged.
    """
    policy = context.policies.get(names[0]) if len(names) == 1 else None
    if policy is not None and not policy.is_concurrency:
        started = rule.start_take(policy.name, policy, context, cost)
        return started if isinstance(started, Decision) else await started
    takes: list[Take] = []
    limiter, request = context.limiter, context.outermost
    for name in names:
        policy = context.policies.get(name)
        key = await resolve_key(rule.key_finder(name, policy)(context), context)
        if policy is None or not policy.is_concurrency:
            takes.append(Take(policy=name, key=key, cost=cost))
            continue
        async with AsyncExitStack() as held:
            lease = await held.enter_async_context(limiter.hold(name, key))
            context.keep(held)
        if not lease.decision.allowed:
            return lease.decision
        request.add_decision(lease.decision)
    if not takes:
        return None
    if len(takes) == 1:
        return await limiter.take(takes[0].policy, takes[0].key, cost)
    return await limiter.take_all(takes)
