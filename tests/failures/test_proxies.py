"""Behind a real proxy that keeps its connections: no request hides in another, and no trailer is a header."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.http.client import served_app, settings_at
from tests.http.sockets import exchange, listening
from tests.http.test_framing import KEY, LAST, OFFERS, POST, SMUGGLED, TAKE, chunked, with_length
from tollhouse import wiring
from tollhouse.asgi.types import App
from tollhouse.settings.model import LimitSettings, PolicySettings

STARTED_S = 10.0
PATH = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
"""Of servers, which is not always that of users."""
STEP = 11
"""Every so many bytes a request is cut: a proxy reads it anew, so that not every cut is another case here."""

NGINX = """
daemon off;
worker_processes 1;
error_log stderr crit;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{shown}
}}
"""
"""What nginx needs around a configuration; it needs no rights of root so."""
SERVER = """\
  upstream service {{ server 127.0.0.1:{service}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
    }}
  }}"""
HAPROXY = """
global
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  option forwardfor
  http-reuse always
frontend proxy
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server service 127.0.0.1:{service}
"""
#   the program, its configuration, and the arguments before the file
PROXIES = {"nginx": (NGINX.replace("{shown}", SERVER), ["-e", "stderr", "-c"]), "haproxy": (HAPROXY, ["-db", "-f"])}


class Request(NamedTuple):
    """What the service was asked."""

    method: str
    path: str
    headers: dict[str, str]


class Recorder:
    """The service, which keeps what it is asked."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.requests: list[Request] = []
        self._asked = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.requests.append(Request(scope["method"], scope["path"], headers))
        self._asked.set()
        await self.app(scope, receive, send)

    def forget(self) -> None:
        self.requests.clear()
        self._asked.clear()

    async def reached(self) -> None:
        """Wait until the proxy has passed a request on, and a little for what follows."""
        await self._asked.wait()
        await asyncio.sleep(0.005)


class Proxied(NamedTuple):
    """The port of a proxy, and the service behind it."""

    port: int
    service: Recorder


@contextmanager
def proxy(name: str, folder: Path, service: int) -> Generator[int]:
    """Run a proxy in front of a port; give its port."""
    program = shutil.which(name, path=PATH)
    if program is None:
        pytest.skip(f"{name} is not installed; .ci/run installs it on Debian")
    configuration, arguments = PROXIES[name]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / f"{name}.conf"
    file.write_text(configuration.format(folder=folder, port=port, service=service))
    with subprocess.Popen([program, *arguments, str(file)], cwd=folder) as process:
        try:
            await_port(port)
            yield port
        finally:
            process.terminate()


def await_port(port: int) -> None:
    give_up_s = time.monotonic() + STARTED_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


@pytest.fixture(scope="module", params=list(PROXIES))
async def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Proxied]:
    limits = LimitSettings(policies={"api": PolicySettings(limit="1000000/hour")})
    tollhouse = wiring.open(settings_at("fake://", limits=limits))
    app, served = served_app(tollhouse)
    recorder = Recorder(served)
    async with app.lifespan(), listening(recorder, tollhouse.settings) as port:
        with proxy(request.param, tmp_path_factory.mktemp("proxy"), port) as proxy_port:
            yield Proxied(proxy_port, recorder)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=list(OFFERS))
@pytest.mark.parametrize("framed", [with_length, chunked])
async def test_a_body_behind_an_offer_is_no_request(
    proxied: Proxied, offer: bytes, framed: Callable[[bytes], bytes]
) -> None:
    """A body that comes after its head, which has an offer to upgrade, is a body, and the next client gets its own."""
    request = POST + offer + framed(SMUGGLED)
    head_bytes = request.index(b"\r\n\r\n") + 4

    for cut in range(head_bytes, len(request), STEP):
        proxied.service.forget()
        segments = [request[:cut], request[cut:], LAST]
        attacker = await exchange(proxied.port, segments, proxied.service.reached)
        victim = await exchange(proxied.port, [LAST])

        assert [answer.status for answer in attacker] == [400, 200]
        assert [answer.body for answer in victim] == [b'{"status":"ok"}']
        asked = [(one.method, one.path) for one in proxied.service.requests]
        assert asked == [("POST", "/v1/limits/take"), ("GET", "/livez"), ("GET", "/livez")]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=list(OFFERS))
async def test_an_offer_is_served(proxied: Proxied, offer: bytes) -> None:
    """A take with an offer to upgrade is answered as any other."""
    several = [POST + offer + with_length(TAKE), POST + offer + chunked(TAKE), LAST]

    assert [answer.status for answer in await exchange(proxied.port, several)] == [200] * 3


async def test_a_trailer_is_no_header(proxied: Proxied) -> None:
    """Neither a key nor an address in a trailer reaches the service as a header."""
    request = POST.replace(KEY, b"") + chunked(TAKE, KEY + b"X-Forwarded-For: 203.0.113.9\r\n")

    for cut in range(1, len(request), STEP):
        proxied.service.forget()
        answers = await exchange(proxied.port, [request[:cut], request[cut:] + LAST])

        assert [answer.status for answer in answers] == [401, 200]
        assert [one.headers["x-forwarded-for"] for one in proxied.service.requests] == ["127.0.0.1"] * 2
        assert "x-api-key" not in proxied.service.requests[0].headers


async def test_many_clients_share_the_connections(proxied: Proxied) -> None:
    """Attackers and victims at once: each client gets the answers to its own requests."""
    request = POST + OFFERS["two lines, any case"] + with_length(SMUGGLED)
    attacks = [exchange(proxied.port, [request[:-30], request[-30:] + LAST]) for _ in range(20)]
    victims = [exchange(proxied.port, [LAST]) for _ in range(20)]

    found = await asyncio.gather(*attacks, *victims)

    assert [[answer.status for answer in one] for one in found] == [[400, 200]] * 20 + [[200]] * 20
