"""The service: settings in, a Litestar application out."""

from __future__ import annotations

import asyncio
import base64
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from msgspec import Struct

from tollhouse import logs, wiring
from tollhouse.asgi.types import App
from tollhouse.http import accounts, ai, cache, health, sessions
from tollhouse.http.authentication import ApiKeys, Authentication, rate_key
from tollhouse.http.cookies import cookie_name
from tollhouse.http.csrf import refuse_cross_site, refuse_unknown_query
from tollhouse.http.limits import routes as limits
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.http.problems import HANDLERS
from tollhouse.litestar import RateLimitRoutes
from tollhouse.serving import exit_with_parent
from tollhouse.settings import Settings, trusted_networks
from tollhouse.settings.watch import SettingsWatcher
from tollhouse.wiring import Tollhouse

WORKER: Final = "_TOLLHOUSE_WORKER"
"""The variable by which `serve` tells its workers what they need to know."""

_log = logging.getLogger("tollhouse")


class WorkerConfig(Struct, frozen=True, kw_only=True):
    """What a worker is told: validated settings, and the file whose policies it follows."""

    settings: Settings
    file: str | None


def create_app(tollhouse: Tollhouse, file: Path | None = None) -> Litestar:
    """Make the application over what `wiring.open` gave; it closes that when it shuts down.

    While it runs, the policies of `file` hold as they stand there.
    """
    settings = tollhouse.settings
    proxies = trusted_networks(settings.trusted_proxies)
    keys = ApiKeys(settings.service_key, settings.admin_key)
    find_caller = Authentication(tollhouse, keys, cookie_name(plain_http=settings.plain_http), proxies)
    app = Litestar(
        route_handlers=[
            limits.ROUTER,
            *accounts.HANDLERS,
            sessions.ROUTER,
            *ai.HANDLERS,
            cache.ROUTER,
            *health.HANDLERS,
        ],
        middleware=[find_caller, RateLimitRoutes(tollhouse, key=rate_key)],
        before_request=_refuse_unwanted,
        exception_handlers=dict(HANDLERS),
        dependencies=_dependencies(tollhouse),
        lifespan=[_lifespan(tollhouse, file)],
        request_max_body_size=settings.body_bytes,
        openapi_config=OpenAPIConfig(
            title="Tollhouse",
            version=version("tollhouse"),
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
            use_handler_docstrings=True,
        ),
        logging_config=None,
        debug=False,
    )
    routed = cast("App", app.asgi_handler)
    fast = FastPath(routed, tollhouse.limits, keys, body_bytes=settings.body_bytes, dialect=settings.limits.headers)
    app.asgi_handler = cast("Any", fast)
    return app


def create_worker() -> Litestar:
    """Make the application of one worker from what `serve` left in the environment."""
    handed = msgspec.msgpack.decode(base64.b64decode(os.environ.pop(WORKER)), type=WorkerConfig)
    settings, file = handed.settings, None if handed.file is None else Path(handed.file)
    logs.configure(settings.log_level, settings.log_format, verbose=wiring.verbose_loggers(settings))
    if multiprocessing.parent_process() is not None:
        exit_with_parent()
    return create_app(wiring.open(settings, models=wiring.installed_models()), file)


def export_worker_config(settings: Settings, file: Path | None) -> None:
    """Leave the settings and their file for `create_worker`, in this process or in those that it spawns."""
    handed = WorkerConfig(settings=settings, file=None if file is None else str(file.absolute()))
    os.environ[WORKER] = base64.b64encode(msgspec.msgpack.encode(handed)).decode()


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


def _lifespan(tollhouse: Tollhouse, file: Path | None) -> Callable[[Litestar], Any]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        found = await health.readiness_of(tollhouse.stores)
        if found.cache == "connected":
            _log.info("Redis cache connected", extra={"url": tollhouse.stores.cache.url.redacted()})
        else:
            _log.warning("Redis cache disconnected", extra={"url": tollhouse.stores.cache.url.redacted()})
        try:
            if file is not None:
                _reload_on_hangup(await tollhouse.watch(file))
            yield
        finally:
            await tollhouse.aclose()

    return lifespan


def _reload_on_hangup(watch: SettingsWatcher) -> None:
    """Let SIGHUP mean "look at the file now", where no terminal can send it by closing."""
    if not os.isatty(0) and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, watch.check_soon)


async def _refuse_unwanted(request: Any) -> None:
    refuse_cross_site(request)
    refuse_unknown_query(request)
