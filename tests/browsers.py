"""Headless Chromium with the login page, as a user starts it: `python -m examples.login.app --plain-http`."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.project.imports import ROOT

CHROMIUM = shutil.which("chromium")
STARTED_S = 30.0
PATIENCE_MS = 20_000
"""How long a browser may take on a busy machine; the page itself looks at its session every 5 s."""
NOT_OURS = "Failed to load resource"
"""Begins what Chromium says in the console of each answer that is no success, those of 401 too."""


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[str]:
    """Run the example on a free port of loopback; yield its address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLHOUSE_")}
    environ = {**kept, "TOLLHOUSE_PASSWORD_PROFILE": "owasp", **variables}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "examples.login.app", "--plain-http", "--port", str(port)]
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=log, stderr=log)
        try:
            _wait_for(f"http://localhost:{port}", process, folder / "log")
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
            process.wait(STARTED_S)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium; the sandbox needs privileges that a container lacks."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A browser of a user of its own, and what its console and its requests were."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list[str])
    requested: list[str] = field(default_factory=list[str])
    last_step: int = -1

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    def field(self, label: str) -> Locator:
        """Return the field with this label in the view that is shown."""
        return self.page.get_by_label(label, exact=True).locator("visible=true")

    def sign_up(self, user: str, password: str) -> None:
        self.page.get_by_role("link", name="Create an account").click()
        self.field("User name").fill(user)
        self.field("Password").fill(password)
        self.page.get_by_role("button", name="Create the account").click()
        self.sees_account(user)

    def log_in(self, user: str, password: str) -> None:
        self.field("User name").fill(user)
        self.field("Password").fill(password)
        self.page.get_by_role("button", name="Log in", exact=True).click()

    def sees_account(self, user: str) -> None:
        expect(self.page.locator("#account-user")).to_have_text(user)
        expect(self.page.locator("#account")).to_be_visible()

    def sees_notice(self, text: str) -> None:
        expect(self.page.get_by_role("status")).to_contain_text(text)

    def connect_authenticator(self) -> None:
        """Connect a device that keeps passkeys to the browser, whose user is always there and verified."""
        session = self.context.new_cdp_session(self.page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    def add_passkey(self) -> None:
        """Add a passkey to the account that is shown."""
        self.page.get_by_role("button", name="Add a passkey").click()
        self.sees_notice("This device logs you in now")

    def enter_code(self, secret: str, form: str) -> None:
        """Enter a code that was not used yet, until one is good: the time goes on while a browser is slow."""
        code = self.page.locator(f"#{form} input[name=code]")
        button = self.page.locator(f"#{form} button:not([type])")
        error = self.page.locator(f"#{form} .error")
        for _ in range(4):
            self.last_step = max(self.last_step + 1, int(time.time()) // 30 - 1)
            code.fill(code_of(secret, self.last_step))
            button.click()
            expect(button).not_to_have_attribute("aria-disabled", "true")
            if not error.is_visible():
                return
        raise AssertionError(f"no code was good: {error.inner_text()}")


@contextmanager
def visiting(browser: Browser, address: str, **options: Any) -> Generator[Visitor]:
    """Open the page in a browser without a past."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    visitor = Visitor(context.new_page(), address)
    visitor.page.on("request", lambda request: visitor.requested.append(request.url))
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    visitor.page.on("console", lambda message: _note(visitor, message.type, message.text))
    visitor.page.goto(address)
    try:
        yield visitor
    finally:
        context.close()


def code_of(secret: str, step: int) -> str:
    """Return what an authenticator app shows in a step of 30 s (RFC 6238)."""
    digest = hmac.digest(base64.b32decode(secret.replace(" ", "")), step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFF_FFFF) % 1_000_000:06}"


def _note(visitor: Visitor, kind: str, text: str) -> None:
    if kind in ("error", "warning") and not text.startswith(NOT_OURS):
        visitor.complaints.append(text)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + STARTED_S
    while True:
        try:
            with urlopen(f"{address}/readyz", timeout=STARTED_S):
                return
        except (URLError, ConnectionError):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < give_up_s, log.read_text("utf-8")
            time.sleep(0.1)
