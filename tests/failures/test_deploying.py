"""docs/deploying.md: its units, proxies and programs do what the page says they do."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.asgi import get
from tests.failures.test_proxies import NGINX, PATH, await_port
from tests.http.client import served_app, settings_at
from tests.http.sockets import listening
from tests.project.console import blocks
from tollhouse import wiring
from tollhouse.app import create_app
from tollhouse.settings import Settings
from tollhouse.wiring import load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)}
CLIENT = "127.0.0.2"
"""The address of the client of a proxy, which itself is 127.0.0.1."""
NOT_ROUTED = 404
"""Of a proxy that listens before it has read its routes."""
GUESSES = 11
"""One more wrong key than an address may send in a minute."""


def shown(section: str, language: str, number: int = 0) -> str:
    return blocks(SECTIONS[section], language)[number]


def settings_of_the_page(folder: Path) -> Settings:
    (folder / "tollhouse.toml").write_text(shown("What it needs", "toml"))
    return load_settings(folder / "tollhouse.toml", environ={})


def test_the_settings_are_read(tmp_path: Path) -> None:
    """The settings that the page begins with are valid."""
    assert settings_of_the_page(tmp_path).trusted_proxies == ("127.0.0.1",)


# Units


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units of the page in a folder, with the program of this environment."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze, of Debian's systemd")
    program = str(Path(sys.executable).parent / "tollhouse")
    for number in range(2):
        unit = shown("systemd", "ini", number)
        name = unit.split("\n", 1)[0].rpartition("/")[2]
        (tmp_path / name).write_text(unit.replace("/opt/tollhouse/bin/tollhouse", program))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tollhouse.service", "tollhouse.socket"]
    return tmp_path


def test_systemd_accepts_the_units(units: Path) -> None:
    """Systemd finds no fault with them, and an exposure of 2 at most, on its scale from 0 to 10."""
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", units / "tollhouse.service", units / "tollhouse.socket"],
        check=False,
        capture_output=True,
        text=True,
    )
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", units / "tollhouse.service"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    assert exposed.returncode == 0, exposed.stdout[-200:]


def test_the_service_takes_the_socket_of_systemd(units: Path) -> None:
    """Started by systemd's own tool on the socket of the page, the command of the page answers the client that came."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("needs systemd-socket-activate, of Debian's systemd")
    command = re.findall(r"^ExecStart=(.*)$", (units / "tollhouse.service").read_text(), re.MULTILINE)[0].split()
    (units / "tollhouse.toml").write_text('url = "fake://"\n')
    (units / "key").write_text("an-admin-key-of-the-operator\n")
    path = units / "s"
    config = [str(units / "tollhouse.toml") if part.endswith(".toml") else part for part in command]
    variables = [f"--setenv={name}" for name in ("PATH", f"TOLLHOUSE_ADMIN_KEY_FILE={units}/key")]
    with subprocess.Popen([activate, f"--listen={path}", *variables, *config], stderr=subprocess.DEVNULL) as process:
        try:
            while not path.exists():
                assert process.poll() is None
            with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), timeout=20) as client:
                status = client.get("http://localhost/livez").status_code
        finally:
            process.terminate()

    assert status == 200
    assert process.returncode == 0


# Proxies

CADDY = "{{\n  admin off\n  auto_https off\n}}\n{shown}"
TRAEFIK = ["--global.checknewversion=false", "--entrypoints.web.address=127.0.0.1:{port}", "--providers.file.filename"]
"""Its static configuration; what the page shows is the dynamic one."""
LANGUAGES = {"nginx": "nginx", "Traefik": "yaml"}
"""Of the blocks that show a configuration; text of the others."""
PROGRAMS = f"{PATH}:{os.environ['PATH']}:{ROOT / 'out/traefik/bin'}"
#   the section, the program, what stands around the configuration, its own port, and the arguments before the file
PROXIES = {
    "nginx": ("nginx", NGINX, "listen 80;", "listen 127.0.0.1:{port};", ["-e", "stderr", "-c"]),
    "HAProxy": ("haproxy", "{shown}", "bind :80", "bind 127.0.0.1:{port}", ["-db", "-f"]),
    "Caddy": (
        "caddy",
        CADDY,
        "example.com {",
        "http://127.0.0.1:{port} {{",
        ["run", "--adapter", "caddyfile", "--config"],
    ),
    "Traefik": ("traefik", "{shown}", "Host(`example.com`)", "Host(`127.0.0.1`)", TRAEFIK),
}


@contextmanager
def proxy(section: str, folder: Path, service: int) -> Generator[int]:
    """Run the proxy of a section in front of a port; give its port."""
    name, around, public, own, arguments = PROXIES[section]
    program = shutil.which(name, path=PROGRAMS)
    if program is None:
        pytest.skip(f"{name} is not installed; .ci/run installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = shown(section, LANGUAGES.get(section, "text"))
    for there, here in ((public, own.format(port=port)), ("127.0.0.1:8000", f"127.0.0.1:{service}")):
        assert there in configuration
        configuration = configuration.replace(there, here)
    file = folder / "proxy.yaml"  # Traefik wants the suffix, the others take any
    file.write_text(around.format(folder=folder, shown=configuration))
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [program, *(argument.format(port=port) for argument in arguments), str(file)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            await_port(port)
            yield port
        finally:
            process.terminate()


@asynccontextmanager
async def client_of(port: int, address: str) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client that comes from an address of this machine."""
    transport = httpx2.AsyncHTTPTransport(local_address=address)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield client


@pytest.mark.parametrize("section", PROXIES)
async def test_a_proxy_of_the_page_names_its_client(section: str, tmp_path: Path) -> None:
    """Whatever forwarding headers a client writes, it is counted by its own address, and no other client is."""
    proxies = settings_of_the_page(tmp_path).trusted_proxies
    tollhouse = wiring.open(settings_at("fake://", trusted_proxies=proxies))
    app, served = served_app(tollhouse)
    statuses: list[int] = []
    async with app.lifespan(), listening(served, tollhouse.settings) as service:
        with proxy(section, tmp_path, service) as port:
            async with client_of(port, CLIENT) as attacker, client_of(port, "127.0.0.3") as other:
                while (await other.get("/livez")).status_code == NOT_ROUTED:  # noqa: ASYNC110 - the proxy reads them
                    await asyncio.sleep(0.05)
                for number in range(GUESSES):
                    forged = {
                        "X-Api-Key": f"a-wrong-key-{number:04}",
                        "X-Forwarded-For": f"203.0.113.{number}",
                        "Forwarded": f"for=198.51.100.{number}",
                    }
                    statuses.append((await attacker.get("/v1/limits", headers=forged)).status_code)
                another = await other.get("/v1/limits", headers={"X-Api-Key": "a-wrong-key-9999"})
                ready = await other.head("/readyz")
                taken = await other.post("/v1/login", json={"user": "ada", "password": "wrong"}, headers=_same(port))

    assert statuses == [401] * (GUESSES - 1) + [429]
    assert another.status_code == 401
    assert ready.status_code == 200
    assert taken.status_code == 401


def _same(port: int) -> dict[str, str]:
    """What an old browser sends with a form of the site itself, which has the port of the proxy."""
    return {"Origin": f"http://127.0.0.1:{port}"}


def test_what_is_not_run_is_well_formed() -> None:
    """The configuration that no program here can read is YAML at least."""
    assert yaml.safe_load(shown("Containers", "yaml"))


def test_the_ports_that_are_named_are_there() -> None:
    """Every path that the page gives to probes and scrapes is a route of the service."""
    paths = set(re.findall(r"^\| `(/\w+)` \|", SECTIONS["Health checks"], re.MULTILINE))
    tollhouse = wiring.open(settings_at("fake://"))

    assert paths == {"/livez", "/readyz", "/healthz", "/metrics"}
    assert paths <= {route.path for route in create_app(tollhouse).routes}


# CORS


def app_of_the_page() -> Starlette:
    source = shown("CORS", "python").replace('"redis://localhost/0"', '"fake://"').replace("100/minute", "1/minute")
    names: dict[str, Starlette] = {}
    exec(compile(source, "deploying.md", "exec"), names)
    app = names["app"]
    app.router.routes.append(Route("/", lambda _: PlainTextResponse("hello")))
    return app


async def test_a_script_of_another_origin_can_read_a_refusal() -> None:
    """With the order of the page a refusal has the fields of CORS, and preflights are answered and count nothing."""
    app = app_of_the_page()
    origin = {"Origin": "https://shop.example"}

    preflights = [
        await get(app, method="OPTIONS", **origin, **{"Access-Control-Request-Method": "POST"}) for _ in range(3)
    ]
    first, refused = await get(app, **origin), await get(app, **origin)

    assert [one.status_code for one in preflights] == [200] * 3
    assert (first.status_code, refused.status_code) == (200, 429)
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    exposed = refused.headers["access-control-expose-headers"].split(", ")
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} == set(exposed)
    assert {name.lower() for name in exposed} <= set(refused.headers)
