"""The service: a Litestar application over an open Tollhouse, and a fast path for takes, which its server may use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from tollhouse.extras import not_installed

try:
    from litestar import Litestar
    from litestar.di import Provide
    from litestar.openapi import OpenAPIConfig
    from litestar.openapi.plugins import JsonRenderPlugin

    from tollhouse.serving.signals import answer_hangups
    from tollhouse.serving.workers import exit_with_parent
except ModuleNotFoundError as error:
    raise not_installed("tollhouse.app", "tollhouse[service]", error) from error

from tollhouse import logs, wiring
from tollhouse.ai.langid import langid
from tollhouse.ai.models import Models
from tollhouse.asgi.head import answer_head
from tollhouse.asgi.types import App
from tollhouse.http import ai, cache, health, root
from tollhouse.http.accounts import routes as accounts
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.authentication import Authentication, rate_key
from tollhouse.http.challenges import login_rules
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.csrf import refuse_cross_site, refuse_unwanted_query
from tollhouse.http.headers import complete_response
from tollhouse.http.limits import routes as limits
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.http.limits.responses import TakeResponses
from tollhouse.http.openapi import security_schemes
from tollhouse.http.pacing import PacedEnds
from tollhouse.http.problems import HANDLERS, refuse_other_types
from tollhouse.http.sessions import routes as sessions
from tollhouse.http.sessions.administration import keep_users_encoded
from tollhouse.http.sessions.event_stream import EventStreams
from tollhouse.litestar.routes import RateLimitRoutes
from tollhouse.logs import Log
from tollhouse.runtime.collector import tune_gc
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse

_log = Log("tollhouse")


class WorkerConfig(Struct, frozen=True, kw_only=True):
    """What a worker needs to start: validated settings with their secrets, and the settings file to watch.

    `folder` is that of the metrics that several workers share.
    """

    settings: Settings
    file: str | None
    folder: str | None = None


def create_app(
    tollhouse: Tollhouse,
    file: Path | None = None,
    *,
    keys: ApiKeys | None = None,
    streams: EventStreams | None = None,
    on_started: Callable[[], None] | None = None,
) -> Litestar:
    """Make the application over an open Tollhouse, which it closes when it shuts down.

    While it runs it follows the policies of `file`. It accepts `keys`, those of the settings if they are not given, and
    counts its streams of events among `streams`. `on_started` is called at the end of its start-up.
    """
    settings = tollhouse.settings
    counted, ends = EventStreams(tollhouse.metrics) if streams is None else streams, PacedEnds()
    accepted = ApiKeys(tollhouse) if keys is None else keys
    return Litestar(
        route_handlers=[
            limits.ROUTER,
            *accounts.HANDLERS,
            *sessions.ROUTERS,
            *ai.HANDLERS,
            cache.ROUTER,
            *health.HANDLERS,
            *root.HANDLERS,
        ],
        middleware=[Authentication(tollhouse, accepted), RateLimitRoutes(tollhouse, key=rate_key)],
        before_request=_refuse_unwanted,
        before_send=[complete_response],
        exception_handlers=dict(HANDLERS),
        dependencies=_dependencies(tollhouse, counted, ends),
        lifespan=[_lifespan(tollhouse, counted, ends, file, on_started)],
        request_max_body_size=settings.body_bytes,
        openapi_config=_openapi_of(settings),
        logging_config=None,
        debug=False,
    )


def create_worker(config: WorkerConfig) -> FastPath:
    """Make the service of one worker: the application of `create_app`, with the fast path for its server.

    A worker that is a process of its own ends with the process that started it. Its collector of garbage is tuned.
    """
    exit_with_parent(config.folder)
    settings, file = config.settings, None if config.file is None else Path(config.file)
    logs.configure(settings.log_level, settings.log_format)
    tollhouse = wiring.open(settings, models=installed_models(settings))
    keys = ApiKeys(tollhouse)
    return serve_quickly(create_app(tollhouse, file, keys=keys, on_started=tune_gc), tollhouse, keys)


def serve_quickly(app: Litestar, tollhouse: Tollhouse, keys: ApiKeys) -> FastPath:
    """Wrap the application of `create_app`: HEAD is answered as GET, and the server is offered the fast path for takes.

    A user's id in a path stays encoded until its handler reads it.
    """
    return FastPath(answer_head(keep_users_encoded(cast("App", app))), tollhouse, keys)


def installed_models(settings: Settings) -> Models:
    """Return the models of the settings, and `langid` with the extra `demo`; raise ConfigurationError for a bad one."""
    built_in = langid()
    return wiring.models_from_settings(settings, () if built_in is None else (built_in,))


def _openapi_of(settings: Settings) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Tollhouse",
        version=version("tollhouse"),
        path="/schema",
        components=security_schemes(plain_http=settings.plain_http),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        use_handler_docstrings=True,
    )


def _dependencies(tollhouse: Tollhouse, streams: EventStreams, ends: PacedEnds) -> dict[str, Provide]:
    settings = tollhouse.settings
    cookies = SessionCookies(
        tollhouse.sessions.policies,
        plain_http=settings.plain_http,
        device_days=settings.accounts.throttle.device_days,
    )
    responses, found = TakeResponses(tollhouse), health.StoreHealth(tollhouse.stores)
    rules = login_rules(tollhouse.settings)
    providers: dict[str, Callable[[], Any]] = {
        "limits": lambda: tollhouse.limits,
        "sessions": lambda: tollhouse.sessions,
        "accounts": lambda: tollhouse.accounts,
        "account_settings": lambda: tollhouse.settings.accounts,
        "cache": lambda: tollhouse.cache,
        "results": lambda: tollhouse.results,
        "streams": lambda: streams,
        "paced_ends": lambda: ends,
        "stores": lambda: tollhouse.stores,
        "metrics": lambda: tollhouse.metrics,
        "session_cookies": lambda: cookies,
        "login_rules": lambda: rules,
        "responses": lambda: responses,
        "health": lambda: found,
    }
    return {name: Provide(provider, sync_to_thread=False) for name, provider in providers.items()}


def _lifespan(
    tollhouse: Tollhouse,
    streams: EventStreams,
    ends: PacedEnds,
    file: Path | None,
    on_started: Callable[[], None] | None,
) -> Callable[[Litestar], Any]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        readiness = await health.readiness_of(tollhouse.stores)
        if readiness.cache == "connected":
            _log.info("Redis cache connected", extra={"url": tollhouse.stores.cache.url.redacted()})
        else:
            _log.warning("Redis cache disconnected", extra={"url": tollhouse.stores.cache.url.redacted()})
        try:
            answer_hangups(_ignore_hangup if file is None else (await tollhouse.watch(file)).check_soon)
            if on_started is not None:
                on_started()
            yield
        finally:
            streams.end()
            await ends.aclose()
            await tollhouse.aclose()

    return lifespan


def _ignore_hangup() -> None:
    remedy = "start the service with --config, or with a tollhouse.toml in its folder"
    _log.warning("SIGHUP ignored: there is no settings file", extra={"remedy": remedy})


async def _refuse_unwanted(request: Any) -> None:
    refuse_cross_site(request)
    refuse_unwanted_query(request)
    await refuse_other_types(request)
