"""A login page on the origin of the service. Run it in a clone with `python -m examples.login.app --plain-http`.

Install what it needs with `pip install '.[service,webauthn]'`, then open http://localhost:8000, and not the address
127.0.0.1: passkeys are for a name.

The page is of plain HTML, CSS and JavaScript, and calls the routes of `/v1`: sign-up, login, second factor, passkeys,
devices, another password, the end of an account. Nothing is loaded from elsewhere, and no script is inline.

The settings are those of `tollhouse serve`, from TOLLHOUSE_ variables or `tollhouse.toml`; without any an embedded
Valkey starts, whose data end with it. Behind a proxy that ends TLS leave out `--plain-http`: cookies are Secure then.
Set `url`, `secret`, `trusted_proxies`, and for passkeys `accounts.passkeys.rp_id`.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

import tollhouse
from tollhouse.app import create_app

App = Callable[[Any, Any, Any], Awaitable[None]]

FOLDER = Path(__file__).parent
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The files that are served, by their endings."""
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",  # scripts send the forms; without them no password gets into an address
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
FEATURES = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": FEATURES,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every file is sent with. Strict-Transport-Security is the proxy's: it is about a whole domain."""


class Pages:
    """An ASGI application that answers with files of a folder, and passes every other request on to the service."""

    def __init__(self, service: App, folder: Path = FOLDER) -> None:
        self._service = service
        files = [path for path in folder.iterdir() if path.suffix in TYPES]
        self._pages = {f"/{path.name}": (TYPES[path.suffix], path.read_bytes()) for path in files}
        self._pages["/"] = self._pages["/index.html"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        page = self._pages.get(scope["path"]) if is_read else None
        if page is None:
            await self._service(scope, receive, send)
            return
        media_type, content = page
        fields = {"Content-Type": media_type, "Content-Length": str(len(content)), **HEADERS}
        headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve the page and the service; which proxies are believed is in the settings, and nothing to uvicorn."""
    parser = argparse.ArgumentParser(prog="python -m examples.login.app")
    parser.add_argument("--plain-http", action="store_true", default=None, help="cookies without Secure, on loopback")
    parser.add_argument("--port", type=int, help="port to listen on (8000)")
    try:
        settings = tollhouse.load_settings(flags=vars(parser.parse_args()))
    except tollhouse.ConfigurationError as error:
        parser.error(str(error))
    pages = Pages(create_app(tollhouse.open(settings)))
    uvicorn.run(pages, host=settings.host, port=settings.port, proxy_headers=False, server_header=False)


if __name__ == "__main__":
    main()
