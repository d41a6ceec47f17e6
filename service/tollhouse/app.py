"""The service: settings in, a Litestar application out."""

from __future__ import annotations

import base64
import logging
import multiprocessing
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from tollhouse import logs, wiring
from tollhouse.http import accounts, ai, cache, health, limits, sessions
from tollhouse.http.callers import ApiKeys, FindCaller, rate_key
from tollhouse.http.cookies import cookie_name
from tollhouse.http.origin import refuse_cross_site, refuse_unknown_query
from tollhouse.http.problems import HANDLERS
from tollhouse.litestar import RateLimitRoutes
from tollhouse.serving import leave_with_parent
from tollhouse.settings import Settings, trusted_networks
from tollhouse.wiring import Tollhouse

WORKER_SETTINGS: Final = "_TOLLHOUSE_WORKER_SETTINGS"
"""The variable by which `serve` hands its validated settings to its workers."""

_log = logging.getLogger("tollhouse")


def create_app(tollhouse: Tollhouse) -> Litestar:
    """Make the application over what `wiring.open` gave; it closes that when it shuts down."""
    settings = tollhouse.settings
    proxies = trusted_networks(settings.trusted_proxies)
    find_caller = FindCaller(
        tollhouse,
        ApiKeys(settings.service_key, settings.admin_key),
        cookie_name(plain_http=settings.plain_http),
        proxies,
    )
    return Litestar(
        route_handlers=[
            limits.ROUTER,
            *accounts.HANDLERS,
            sessions.ROUTER,
            *ai.HANDLERS,
            cache.ROUTER,
            *health.HANDLERS,
        ],
        middleware=[find_caller, RateLimitRoutes(tollhouse.limits, key=rate_key)],
        before_request=_refuse_unwanted,
        exception_handlers=dict(HANDLERS),
        dependencies=_dependencies(tollhouse),
        lifespan=[_lifespan(tollhouse)],
        request_max_body_size=settings.body_bytes,
        openapi_config=OpenAPIConfig(
            title="Tollhouse",
            version=version("tollhouse"),
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        ),
        logging_config=None,
        debug=False,
    )


def create_worker() -> Litestar:
    """Make the application of one worker from the settings that `serve` left in the environment."""
    settings = msgspec.msgpack.decode(base64.b64decode(os.environ.pop(WORKER_SETTINGS)), type=Settings)
    logs.configure(settings.log_level, settings.log_format, verbose=wiring.verbose_loggers(settings))
    if multiprocessing.parent_process() is not None:
        leave_with_parent()
    return create_app(wiring.open(settings, models=wiring.installed_models()))


def hand_over(settings: Settings) -> None:
    """Leave the settings for `create_worker`, in this process or in those that it spawns."""
    os.environ[WORKER_SETTINGS] = base64.b64encode(msgspec.msgpack.encode(settings)).decode()


def _dependencies(tollhouse: Tollhouse) -> dict[str, Provide]:
    offered: dict[str, Callable[[], Any]] = {
        "limits": lambda: tollhouse.limits,
        "sessions": lambda: tollhouse.sessions,
        "accounts": lambda: tollhouse.accounts,
        "cache": lambda: tollhouse.cache,
        "results": lambda: tollhouse.results,
        "stores": lambda: tollhouse.stores,
        "metrics": lambda: tollhouse.metrics,
        "settings": lambda: tollhouse.settings,
    }
    return {name: Provide(offer, sync_to_thread=False) for name, offer in offered.items()}


def _lifespan(tollhouse: Tollhouse) -> Callable[[Litestar], Any]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        found = await health.health_of(tollhouse.stores)
        if found.cache == "connected":
            _log.info("Redis cache connected", extra={"url": tollhouse.stores.cache.url.shown()})
        else:
            _log.warning("Redis cache disconnected", extra={"url": tollhouse.stores.cache.url.shown()})
        try:
            yield
        finally:
            await tollhouse.aclose()

    return lifespan


async def _refuse_unwanted(request: Any) -> None:
    refuse_cross_site(request)
    refuse_unknown_query(request)
