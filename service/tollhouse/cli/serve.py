"""`tollhouse serve`: check everything and bind the port before the first request can arrive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich_click import RichCommand

from tollhouse import logs, wiring
from tollhouse.app import WorkerConfig, create_worker
from tollhouse.cli import service_file
from tollhouse.cli.models import import_models
from tollhouse.cli.service_file import ServiceInfo
from tollhouse.errors import ConfigurationError, StoreRefused
from tollhouse.keyring import Keyring
from tollhouse.logs import Log
from tollhouse.serving import ServingConfig, address_of, bind, exit_on_signals, passed_socket, run
from tollhouse.settings import Settings, remove_secrets, settings_file, with_instances
from tollhouse.settings.networks import is_loopback
from tollhouse.stores.urls import EmbeddedClusterTarget, EmbeddedTarget, FakeTarget, StoreName, StoreUrl

_TMPDIR: Final = "unless TMPDIR names a folder that can be written"

_log = Log("tollhouse")


class StartupInfo(Struct, frozen=True, kw_only=True):
    """The output of `serve --json`, printed once the port is bound."""

    address: str
    workers: int
    admin_key: str | None
    admin_key_file: str | None


_OWN: Final = EmbeddedTarget | EmbeddedClusterTarget | FakeTarget
"""Servers that the service starts itself: none of them refuses it."""


@click.command(cls=RichCommand)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file (default: tollhouse.toml).")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on; 0 takes any free one (8000).")
@click.option("--workers", type=int, help="Number of worker processes (1).")
@click.option("--plain-http", is_flag=True, default=None, help="Cookies without Secure; loopback only.")
@click.option("--ha", is_flag=True, help="Start a primary, two replicas and three Sentinels instead of one Valkey.")
@click.option("--json", "as_json", is_flag=True, help="Print the address and the key as one JSON line.")
def serve(config: Path | None, ha: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001 - click gives them
    """Serve sessions, limits and AI results over HTTP.

    Without any setting it starts its own Valkey, generates an admin key and listens on 127.0.0.1:8000. To use your
    server, set TOLLHOUSE_URL=redis://HOST:6379/0 and TOLLHOUSE_SECRET, or `url` and `secret` of the settings file.
    """
    exit_on_signals()
    settings = wiring.load_settings(config, flags=options)
    remove_secrets(os.environ)  # children get what they need by other ways
    logs.configure(settings.log_level, settings.log_format)
    import_models(settings)
    with ExitStack() as owned:
        settings, listening = _listen(settings)
        owned.enter_context(contextlib.closing(listening))
        prepared, generated_key = _prepare(settings, owned, ha=ha)
        folder = owned.enter_context(_shared_metrics(prepared))
        file = settings_file(os.environ, config)
        info = _service_info(prepared, address_of(listening, prepared.host), file)
        path = _publish(info, owned)
        _announce(info, generated_key, path, prepared.workers, as_json=as_json)
        worker = WorkerConfig(settings=prepared, file=info.file, folder=folder)
        run(ServingConfig(partial(create_worker, worker), prepared), listening)


def _listen(settings: Settings) -> tuple[Settings, socket.socket]:
    """Take over the socket that systemd passes, or bind one; return the settings with the host and port that it has."""
    passed = passed_socket(os.environ)
    if passed is None:
        bound = bind(settings.host, settings.port)
        return replace(settings, port=bound.getsockname()[1]), bound
    if passed.family == socket.AF_UNIX:
        return settings, passed
    host, port, *_ = passed.getsockname()
    return replace(settings, host=host, port=port), passed


def _prepare(settings: Settings, owned: ExitStack, *, ha: bool) -> tuple[Settings, str | None]:
    """Check the configuration, start embedded servers, and generate the secret and the key that are not set.

    Return the settings for the workers, and the admin key if one was generated.
    """
    urls = wiring.store_urls(settings)
    asyncio.run(_require_stores(settings))
    if ha:
        urls = _with_sentinels(urls)
    secret = wiring.resolve_secrets(settings, urls)
    Keyring(secrets=secret).require_secret("the data of these stores outlive this process")
    generated_key = _generate_admin_key(settings, urls)
    keys = settings.admin_key if generated_key is None else (generated_key,)
    embedded_urls = {f"{name}_url": url for name, url in _start_embedded(urls, owned).items()}
    return replace(with_instances(settings), secret=secret, admin_key=keys, **embedded_urls), generated_key


async def _require_stores(settings: Settings) -> None:
    """Raise StoreRefused if a server refuses a store until the setup is changed; one that is not there is an outage.

    It is not logged here: each worker meets and logs it.
    """
    with logs.muted():
        async with wiring.open(settings, strict=True) as tollhouse:
            exist = [one for one in tollhouse.stores.all() if not isinstance(one.url.target, _OWN)]
            found = await asyncio.gather(*(store.probe() for store in exist), return_exceptions=True)
    for error in found:
        if isinstance(error, StoreRefused):
            raise error


def _generate_admin_key(settings: Settings, urls: dict[StoreName, StoreUrl]) -> str | None:
    """Return a new admin key if no key is set and all data end with this service; None otherwise."""
    if settings.admin_key or settings.service_key or not wiring.owns_servers(urls):
        return None
    if not is_loopback(settings.host):
        remedy = f"set a key before listening on {settings.host}: other machines can reach it"
        raise ConfigurationError("TOLLHOUSE_ADMIN_KEY", None, remedy)
    return secrets.token_urlsafe(24)


def _with_sentinels(urls: dict[StoreName, StoreUrl]) -> dict[StoreName, StoreUrl]:
    """Move every store to the embedded cluster; raise ConfigurationError for a store on a server that exists."""
    for url in urls.values():
        if url.target != EmbeddedTarget() and not isinstance(url.target, EmbeddedClusterTarget):
            remedy = "--ha starts its own servers, which keep no data: leave out --ha or this URL"
            raise ConfigurationError("--ha", url.server, remedy)
    chosen = next((url.target for url in urls.values() if url.target != EmbeddedTarget()), EmbeddedClusterTarget())
    return {name: replace(url, target=chosen) for name, url in urls.items()}


def _start_embedded(urls: dict[StoreName, StoreUrl], owned: ExitStack) -> dict[StoreName, str]:
    """Start each embedded server or cluster once; return the URLs by which workers reach the stores on them."""
    started: dict[EmbeddedTarget | EmbeddedClusterTarget, str] = {}
    embedded_urls: dict[StoreName, str] = {}
    for name, url in urls.items():
        if not isinstance(url.target, EmbeddedTarget | EmbeddedClusterTarget):
            continue
        if url.target not in started:
            started[url.target] = _start(url.target, owned)
        embedded_urls[name] = f"{started[url.target]}db={url.db}"
    return embedded_urls


def _start(target: EmbeddedTarget | EmbeddedClusterTarget, owned: ExitStack) -> str:
    """Start a server or a cluster that stops with `owned`; return its URL, ending so that one option can follow."""
    from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
    from tollhouse.stores.embedded.server import EmbeddedServer

    if isinstance(target, EmbeddedClusterTarget):
        cluster = SentinelCluster.start(min_replicas=target.min_replicas, binary=wiring.embedded_binary())
        owned.callback(cluster.stop)
        return f"{cluster.url}&"
    path = None if target.path is None else Path(target.path)
    server = EmbeddedServer.start(path, wiring.embedded_binary())
    owned.callback(server.stop)
    return f"{server.url}?"


@contextmanager
def _shared_metrics(settings: Settings) -> Generator[str | None]:
    """Create the folder in which several workers share their metrics; its variable must be set before they start.

    If no folder can be written they share none: each answers a scrape for itself, and a warning says so.
    """
    if settings.workers == 1:
        yield None
        return
    try:
        folder = tempfile.mkdtemp(prefix="th-")
    except OSError as error:
        _log.warning("workers do not share their metrics", extra={"reason": str(error), "remedy": _TMPDIR})
        yield None
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(info: ServiceInfo, owned: ExitStack) -> Path | None:
    """Write the service file, which `owned` removes, and return its path.

    It is a convenience: if it cannot be written, a warning says what is lost, and None is returned.
    """
    try:
        path = service_file.write(info)
    except (OSError, ConfigurationError) as error:
        lost = "other commands do not find this service: give them its settings"
        _log.warning("service file not written", extra={"reason": str(error), "lost": lost})
        return None
    owned.callback(service_file.remove, info)
    return path


def _service_info(settings: Settings, address: str, file: Path | None) -> ServiceInfo:
    return ServiceInfo(
        pid=os.getpid(),
        address=address,
        urls={name: url for name, url in settings.store_urls().items() if url is not None},
        secret=settings.secret,
        admin_key=settings.admin_key,
        namespace=settings.namespace,
        file=None if file is None else str(file.absolute()),
    )


def _announce(info: ServiceInfo, generated_key: str | None, path: Path | None, workers: int, *, as_json: bool) -> None:
    """Print the address and how to call it; the key is printed on a terminal only, because logs keep what they get.

    Raises ConfigurationError for a generated key that would be in no place at all.
    """
    on_terminal = sys.stdout.isatty()
    if generated_key is not None and path is None and not on_terminal:
        raise ConfigurationError("TOLLHOUSE_ADMIN_KEY", None, f"set a key: none can be kept, {_TMPDIR}")
    printed_key = generated_key if on_terminal else None
    if as_json:
        key_file = str(path) if generated_key is not None and printed_key is None else None
        startup = StartupInfo(address=info.address, workers=workers, admin_key=printed_key, admin_key_file=key_file)
        click.echo(msgspec.json.encode(startup))
        return
    click.echo(f"Tollhouse answers on {info.address}")
    if generated_key is not None:
        click.echo(f"Admin key: {printed_key}" if on_terminal else f"Admin key: in {path} (only you can read it)")
    socket_path = info.address.removeprefix("unix:")
    place = info.address if socket_path == info.address else f"--unix-socket {socket_path} http://localhost"
    click.echo(f"Try: curl -i {place}/readyz")
    sys.stdout.flush()
