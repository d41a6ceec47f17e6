"""Writes the pictures of the login page that docs/accounts.md shows: python -m tests.project.login_pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browsers import chromium, serving, visiting
from tests.project.imports import ROOT

FOLDER = ROOT / "docs/images"
PASSWORD = "nine apples fell on Tuesday"
SIZE = {"width": 480, "height": 440}


def take(browser: Browser, address: str) -> None:
    """Write the login, light and dark, a refusal beside its field, an account, and a passkey."""
    for scheme in ("light", "dark"):
        with visiting(browser, address, color_scheme=scheme, viewport=SIZE) as visitor:
            visitor.field("User name").fill("ada")
            visitor.page.screenshot(path=FOLDER / f"login-{scheme}.png")
    with visiting(browser, address, color_scheme="light", viewport=SIZE) as visitor:
        page = visitor.page
        page.get_by_role("link", name="Create an account").click()
        visitor.field("User name").fill("ada")
        visitor.field("Password").fill("Summer2026Summer2026")
        page.get_by_role("button", name="Create the account").click()
        expect(page.locator(".error")).to_be_visible()
        page.screenshot(path=FOLDER / "login-refusal.png")
        visitor.field("Password").fill(PASSWORD)
        page.get_by_role("button", name="Create the account").click()
        visitor.sees_account("ada")
        page.set_viewport_size({"width": 480, "height": 900})
        page.screenshot(path=FOLDER / "login-account.png")
        visitor.connect_authenticator()
        visitor.add_passkey()
        page.locator("#passkeys-view").screenshot(path=FOLDER / "login-passkeys.png")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="th-") as folder, serving(Path(folder)) as address, chromium() as browser:
        take(browser, address)


if __name__ == "__main__":
    main()
