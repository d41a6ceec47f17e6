"""`tollhouse serve`: everything is checked and bound before the first request can arrive."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich_click import RichCommand

from tollhouse import logs, wiring
from tollhouse.app import export_worker_config
from tollhouse.cli import service_file as running
from tollhouse.cli.service_file import ServiceInfo
from tollhouse.errors import ConfigurationError
from tollhouse.serving import ServingConfig, bind, run
from tollhouse.settings import Settings, is_loopback, load, secret_needed, settings_file
from tollhouse.stores.urls import EmbeddedClusterTarget, EmbeddedTarget, StoreName, StoreUrl


class StartupInfo(Struct, frozen=True, kw_only=True):
    """What `serve --json` prints once the port is taken."""

    address: str
    workers: int
    admin_key: str | None
    admin_key_file: str | None


@click.command(cls=RichCommand)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; tollhouse.toml unless given.")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on; 0 takes any free one (8000).")
@click.option("--workers", type=int, help="Processes that answer (1).")
@click.option("--plain-http", is_flag=True, default=None, help="Cookies without Secure; loopback only.")
@click.option("--ha", is_flag=True, help="Bring a primary, two replicas and three Sentinels, not one Valkey.")
@click.option("--json", "as_json", is_flag=True, help="Print the address and the key as one JSON line.")
def serve(config: Path | None, ha: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001 - click gives them
    """Serve sessions, limits and AI results over HTTP.

    Without any setting it brings its own Valkey, makes an admin key and listens on 127.0.0.1:8000.
    """
    settings = load(os.environ, config, flags=options)
    logs.configure(settings.log_level, settings.log_format, verbose=wiring.verbose_loggers(settings))
    with ExitStack() as owned:
        listening = owned.enter_context(contextlib.closing(bind(settings.host, settings.port)))
        ready, made_key = _prepare(settings, owned, ha=ha)
        owned.enter_context(_shared_metrics(ready))
        port = listening.getsockname()[1]
        host = f"[{ready.host}]" if ":" in ready.host else ready.host
        file = settings_file(os.environ, config)
        now = _service_info(ready, f"http://{host}:{port}", file)
        path = running.write(now)
        owned.callback(running.remove, now)
        _announce(now, made_key, path, ready.workers, as_json=as_json)
        export_worker_config(ready, file)
        run(ServingConfig("tollhouse.app:create_worker", ready), listening)


def _prepare(settings: Settings, owned: ExitStack, *, ha: bool) -> tuple[Settings, str | None]:
    """Check what can be checked, start the embedded servers, and make what was not given."""
    wiring.open(settings)
    where = _with_sentinels(wiring.store_urls(settings)) if ha else wiring.store_urls(settings)
    if secret_needed(settings):
        raise ConfigurationError(
            "TOLLHOUSE_SECRET", None, "these stores outlive this process: set a secret of at least 32 bytes, or _FILE"
        )
    secret = wiring.resolve_secrets(settings, where)
    made_key = None
    if not settings.admin_key and not settings.service_key and _all_embedded(where):
        if not is_loopback(settings.host):
            raise ConfigurationError(
                "TOLLHOUSE_ADMIN_KEY", None, f"set a key before listening on {settings.host}: others can reach it"
            )
        made_key = secrets.token_urlsafe(24)
    started = {f"{name}_url": url for name, url in _start_embedded(where, owned).items()}
    keys = settings.admin_key if made_key is None else (made_key,)
    return replace(settings, secret=secret, admin_key=keys, **started), made_key


def _with_sentinels(where: dict[StoreName, StoreUrl]) -> dict[StoreName, StoreUrl]:
    """Move every store to the embedded topology, which nothing that exists already can be a part of."""
    for place in where.values():
        if place.target not in (EmbeddedTarget(), EmbeddedClusterTarget()):
            raise ConfigurationError(
                "--ha", place.redacted(), "it brings servers of its own, which keep nothing: leave --ha or this URL out"
            )
    return {name: replace(place, target=EmbeddedClusterTarget()) for name, place in where.items()}


def _start_embedded(where: dict[StoreName, StoreUrl], owned: ExitStack) -> dict[StoreName, str]:
    """Start each embedded server or topology once; give the URLs by which the workers reach their stores."""
    started: dict[EmbeddedTarget | EmbeddedClusterTarget, str] = {}
    urls: dict[StoreName, str] = {}
    for name, place in where.items():
        if not isinstance(place.target, EmbeddedTarget | EmbeddedClusterTarget):
            continue
        if place.target not in started:
            started[place.target] = _start(place.target, owned)
        urls[name] = f"{started[place.target]}db={place.db}"
    return urls


def _start(target: EmbeddedTarget | EmbeddedClusterTarget, owned: ExitStack) -> str:
    """Start a server or a topology that ends with `owned`; give its URL, ready for one more option."""
    from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
    from tollhouse.stores.embedded.server import EmbeddedServer

    if isinstance(target, EmbeddedClusterTarget):
        topology = SentinelCluster.start(binary=wiring.embedded_binary())
        owned.callback(topology.stop)
        return f"{topology.url}&"
    path = None if target.path is None else Path(target.path)
    server = EmbeddedServer.start(path, wiring.embedded_binary())
    owned.callback(server.stop)
    return f"{server.url}?"


@contextmanager
def _shared_metrics(settings: Settings) -> Generator[None]:
    """Give several workers a folder in which their counts meet; it must be named before they start."""
    if settings.workers == 1:
        yield
        return
    folder = tempfile.mkdtemp(prefix="th-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _service_info(settings: Settings, address: str, file: Path | None) -> ServiceInfo:
    return ServiceInfo(
        pid=os.getpid(),
        address=address,
        urls={name: url for name, url in settings.store_urls().items() if url is not None},
        secret=settings.secret,
        admin_key=settings.admin_key,
        file=None if file is None else str(file.absolute()),
    )


def _announce(now: ServiceInfo, made_key: str | None, path: Path, workers: int, *, as_json: bool) -> None:
    """Say where the service is and how to call it; a key is shown to people, not to logs."""
    to_person = sys.stdout.isatty()
    shown = made_key if to_person else None
    if as_json:
        kept = str(path) if made_key is not None and shown is None else None
        started = StartupInfo(address=now.address, workers=workers, admin_key=shown, admin_key_file=kept)
        click.echo(msgspec.json.encode(started))
        return
    click.echo(f"Tollhouse answers on {now.address}")
    if made_key is not None:
        click.echo(f"Admin key: {made_key}" if to_person else f"Admin key: in {path} (only you can read it)")
    click.echo(f"Try: curl -i {now.address}/readyz")
    sys.stdout.flush()


def _all_embedded(where: dict[StoreName, StoreUrl]) -> bool:
    return all(isinstance(place.target, EmbeddedTarget | EmbeddedClusterTarget) for place in where.values())
