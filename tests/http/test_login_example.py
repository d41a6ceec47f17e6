"""The login page in headless Chromium, against the service that it is started with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, expect

from examples.login.app import FOLDER, HEADERS
from tests.browsers import CHROMIUM, Visitor, chromium, serving, visiting

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: install Debian's package chromium")

PASSWORD = "nine apples fell on Tuesday"
KEY = "a-service-key-for-tests"
OTHER = "a kettle sings below the bridge"
FILES = [
    "/",
    *(f"/{path.name}" for path in sorted(FOLDER.iterdir()) if path.suffix in (".html", ".css", ".js", ".svg")),
]


SETTINGS = """
[accounts.totp]
window = 1

[sessions.policies.remember]
idle_ms = 600_000
absolute_ms = 3_600_000
cookie = "persistent"
cap = 1
at_cap = "ask"
"""
"""Codes of the step before and after count, so that no test has to wait; a login that is remembered has to be alone."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One service for the tests of this module."""
    folder = tmp_path_factory.mktemp("login")
    (folder / "tollhouse.toml").write_text(SETTINGS, encoding="utf-8")
    with serving(folder, TOLLHOUSE_CONFIG=str(folder / "tollhouse.toml"), TOLLHOUSE_SERVICE_KEY=KEY) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of this module."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visitor]:
    """A browser without a past, which complains of nothing and asks no other origin."""
    with visiting(browser, address) as visitor:
        yield visitor
        assert visitor.complaints == []
        assert {url for url in visitor.requested if not url.startswith(f"{address}/")} == set()


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_file_has_the_security_headers(path: str, method: str, address: str) -> None:
    """Nothing is loaded from elsewhere, no script is inline, no page embeds this one, and no address is given away."""
    with urlopen(Request(f"{address}{path}", method=method)) as response:
        fields, content = response.headers, response.read()

    assert {name: fields[name] for name in HEADERS} == dict(HEADERS)
    assert int(fields["content-length"]) > 0
    assert bool(content) == (method == "GET")
    assert "unsafe" not in fields["content-security-policy"]


def test_the_page_has_no_inline_script_and_no_address_of_elsewhere() -> None:
    """What the policy would refuse is not there; a file of the folder that is no page is not served."""
    text = "".join((FOLDER / path[1:]).read_text("utf-8") for path in FILES[1:])
    page = (FOLDER / "index.html").read_text("utf-8")

    assert not re.findall(r"<script(?![^>]* src=)|<style|\s(?:on\w+|style)=", page)
    assert re.findall(r"https?://[^\s\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert "innerHTML" not in text


def test_every_other_path_is_that_of_the_service(address: str) -> None:
    """The page is on the origin of the service, which answers for the rest."""
    with urlopen(f"{address}/readyz") as response:
        assert response.headers["content-type"].startswith("application/json")


def test_every_field_has_a_label_and_says_what_to_fill_in(visitor: Visitor) -> None:
    """Assistive technology names each field, and password managers know what it is for."""
    unnamed = visitor.page.eval_on_selector_all(
        "input:not(.unseen)", "fields => fields.filter(field => !field.labels.length).map(field => field.id)"
    )
    purposes = visitor.page.eval_on_selector_all(
        "input:not([type=checkbox])", "fields => fields.map(field => field.autocomplete)"
    )

    assert unnamed == []
    assert set(purposes) <= {"username", "current-password", "new-password", "one-time-code", "off"}


@pytest.mark.asvs("6.2.6", "6.2.7")
def test_passwords_are_hidden_shown_on_demand_and_pasted(visitor: Visitor) -> None:
    """A password field hides what is in it until its user asks; paste and password managers are let through."""
    field = visitor.field("Password")
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=visitor.address)
    visitor.page.evaluate("text => navigator.clipboard.writeText(text)", PASSWORD)
    hidden = field.get_attribute("type")

    field.focus()
    visitor.page.keyboard.press("Control+V")
    visitor.page.get_by_role("button", name="Show the password").click()

    assert hidden == "password"
    assert field.get_attribute("type") == "text"
    assert field.input_value() == PASSWORD


def test_the_keyboard_alone_logs_in(visitor: Visitor) -> None:
    """The focus begins in the first field and goes in the order that is seen; a refusal is read and brings it back."""
    page = visitor.page
    visitor.sign_up("kay", PASSWORD)
    page.get_by_role("button", name="Log out", exact=True).first.press("Enter")
    visitor.sees_notice("You are logged out.")

    page.keyboard.type("kay")
    page.keyboard.press("Tab")
    page.keyboard.type("another password")
    page.keyboard.press("Enter")
    expect(page.locator("#login-form [role=alert]")).to_contain_text("do not match")
    expect(page.locator("#login-password")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type(PASSWORD)
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Keep me logged in")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Log in", exact=True)).to_be_focused()
    page.keyboard.press("Enter")

    visitor.sees_account("kay")
    expect(page.locator("#account-title")).to_be_focused()


def test_a_refusal_is_told_beside_its_field(visitor: Visitor) -> None:
    """A weak password says which rules it breaks, and a name that is taken says so, in words."""
    page = visitor.page
    visitor.sign_up("tess", PASSWORD)
    page.locator("#log-out").click()
    page.get_by_role("link", name="Create an account").click()
    visitor.field("User name").fill("tess")
    password, name = page.locator("#sign-up-password"), page.locator("#sign-up-user")

    password.fill("Summer2026Summer2026")
    password.press("Enter")
    expect(password).to_have_accessible_description(re.compile("repeats itself; .*dates or years"))
    expect(password).to_be_focused()
    password.fill(OTHER)
    password.press("Enter")

    expect(name).to_have_accessible_description(re.compile("has an account already"))
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#sign-up-password-error")).to_have_count(0)


def test_a_wait_is_counted_down(visitor: Visitor) -> None:
    """After a 429 the button does nothing until Retry-After is over, and the seconds are seen; then it is said."""
    page, attempts = visitor.page, []
    page.route(
        "**/v1/login", lambda route: (attempts.append(1), route.fulfill(status=429, headers={"Retry-After": "2"}))
    )

    visitor.log_in("ada", PASSWORD)
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"[12] s"))
    visitor.field("Password").press("Enter")

    expect(page.locator("#login-form [role=alert]")).to_have_text("You can try again now.")
    assert len(attempts) == 1


def test_an_account_with_a_second_factor_takes_a_code(visitor: Visitor) -> None:
    """Enrolled with a secret and a code; recovery codes are shown once; from then on a login takes a code, or one."""
    page = visitor.page
    visitor.sign_up("fay", PASSWORD)
    page.get_by_role("button", name="Set up an authenticator app").click()
    expect(page.locator("#enrol-code")).to_be_focused()
    secret = page.locator("#enrol-secret").inner_text()
    assert page.locator("#enrol-link").get_attribute("href").startswith("otpauth://totp/")
    visitor.enter_code(secret, "enrol-form")
    expect(page.locator("#factor-state")).to_contain_text("10 recovery codes")
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    page.locator("#recovery-done").click()

    page.get_by_role("button", name="New recovery codes").click()
    page.locator("#confirm-password").fill(PASSWORD)
    visitor.enter_code(secret, "confirm-form")
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    recovery = page.locator("#recovery-codes li").first.inner_text()
    page.locator("#recovery-done").click()
    expect(page.locator("#recovery-codes li")).to_have_count(0)
    page.locator("#log-out").click()

    visitor.log_in("fay", PASSWORD)
    expect(page.locator("#totp-code")).to_be_focused()
    visitor.enter_code(secret, "totp-login")
    visitor.sees_account("fay")
    page.locator("#log-out").click()
    visitor.log_in("fay", PASSWORD)
    page.get_by_text("Use a recovery code").click()
    page.get_by_label("Recovery code").fill(recovery)
    page.keyboard.press("Enter")
    visitor.sees_account("fay")
    expect(page.locator("#factor-state")).to_contain_text("9 recovery codes")


def test_a_passkey_logs_in_without_a_password(visitor: Visitor) -> None:
    """Added with the name of the device it logs in alone; it can be renamed, and opens nothing once it is removed."""
    page = visitor.page
    visitor.connect_authenticator()
    visitor.sign_up("pia", PASSWORD)
    expect(page.locator("#passkey-name")).to_have_value("Chrome on Linux")
    visitor.add_passkey()
    expect(page.locator("#passkey-list li")).to_contain_text("not used yet")
    page.locator("#log-out").click()
    visitor.sees_notice("You are logged out.")

    page.get_by_role("button", name="Use a passkey").click()
    visitor.sees_account("pia")
    expect(page.locator("#passkey-list li")).to_contain_text("last used")
    page.get_by_role("button", name="Rename Chrome on Linux").click()
    expect(page.locator("#rename-name")).to_be_focused()
    page.locator("#rename-name").fill("the old laptop")
    page.keyboard.press("Enter")
    visitor.sees_notice("another name")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.locator("#passkey-form [role=alert]")).to_contain_text("has a passkey of your account already")
    page.get_by_role("button", name="Remove the old laptop").click()
    visitor.sees_notice("opens nothing any more")
    expect(page.locator("#passkey-list li")).to_have_count(0)
    page.locator("#log-out").click()
    page.get_by_role("button", name="Use a passkey").click()

    expect(page.locator("#login-form [role=alert]")).to_contain_text("does not log in here any more")


def test_a_passkey_is_asked_for_to_change_what_it_opens(visitor: Visitor) -> None:
    """A login by password removes no passkey: the page asks for it, and for no password, and goes on."""
    page = visitor.page
    visitor.connect_authenticator()
    visitor.sign_up("una", PASSWORD)
    visitor.add_passkey()
    page.locator("#log-out").click()
    visitor.log_in("una", PASSWORD)
    visitor.sees_account("una")

    page.get_by_role("button", name="Remove Chrome on Linux").click()
    expect(page.locator("#confirm")).to_be_visible()
    expect(page.locator("#confirm-password")).to_be_hidden()
    page.locator("#confirm-passkey").click()

    visitor.sees_notice("opens nothing any more")
    expect(page.locator("#passkey-list li")).to_have_count(0)


def test_a_passkey_takes_the_place_of_a_code(visitor: Visitor) -> None:
    """With a second factor the password is followed by a code or by the passkey."""
    page = visitor.page
    visitor.connect_authenticator()
    visitor.sign_up("sol", PASSWORD)
    page.get_by_role("button", name="Set up an authenticator app").click()
    expect(page.locator("#enrol-code")).to_be_focused()
    secret = page.locator("#enrol-secret").inner_text()
    visitor.enter_code(secret, "enrol-form")
    page.locator("#recovery-done").click()
    page.get_by_role("button", name="Add a passkey").click()
    page.locator("#confirm-password").fill(PASSWORD)
    visitor.enter_code(secret, "confirm-form")
    visitor.sees_notice("This device logs you in now")
    page.locator("#log-out").click()

    visitor.log_in("sol", PASSWORD)
    expect(page.locator("#totp-code")).to_be_focused()
    page.locator("#passkey-second").click()

    visitor.sees_account("sol")


def test_a_user_may_change_their_mind_about_a_passkey(visitor: Visitor) -> None:
    """A browser without a passkey, or whose user cancels, says so, and the password still logs in."""
    page = visitor.page
    cancel = "() => Promise.reject(new DOMException('', 'NotAllowedError'))"
    page.evaluate(f"() => {{ navigator.credentials.get = {cancel}; }}")

    page.get_by_role("button", name="Use a passkey").click()

    expect(page.locator("#login-form [role=alert]")).to_have_text("No passkey was used. Try again.")


def test_a_second_browser_is_logged_out_live(visitor: Visitor, browser: Browser, address: str) -> None:
    """What ends a session from elsewhere is seen in it within seconds, with the reason; nothing of the user is left."""
    page = visitor.page
    visitor.sign_up("liv", PASSWORD)
    with visiting(browser, address) as second:
        second.log_in("liv", PASSWORD)
        second.sees_account("liv")
        page.reload()
        page.get_by_role("button", name=re.compile("Log out Chrome")).click()
        visitor.sees_notice("That device is logged out.")
        second.sees_notice("logged out from another of your devices")
        expect(second.page.locator("#login")).to_be_visible()
        expect(second.page.locator("#devices li")).to_have_count(0)
        assert second.complaints == []


def test_another_password_logs_the_others_out(visitor: Visitor, browser: Browser, address: str) -> None:
    """After a change of the password this browser stays logged in, others are out, and only the new one logs in."""
    page = visitor.page
    visitor.sign_up("mia", PASSWORD)
    with visiting(browser, address) as second:
        second.log_in("mia", PASSWORD)
        second.sees_account("mia")
        page.locator("#old-password").fill(OTHER)
        page.locator("#new-password").fill(OTHER)
        page.get_by_role("button", name="Change the password").click()
        expect(page.locator("#old-password")).to_have_accessible_description("This is not your password.")
        page.locator("#old-password").fill(PASSWORD)
        page.get_by_role("button", name="Change the password").click()
        visitor.sees_notice("The password is changed")
        second.sees_notice("logged out from another of your devices")
        second.log_in("mia", OTHER)
        second.sees_account("mia")


def test_a_link_of_a_mail_sets_another_password(visitor: Visitor) -> None:
    """The token is in the fragment, which leaves the address bar at once; a link is good once."""
    page = visitor.page
    visitor.sign_up("ria", PASSWORD)
    asked = Request(
        f"{visitor.address}/v1/accounts/reset-token", b'{"user": "ria"}', {"Content-Type": "application/json"}
    )
    asked.add_header("Authorization", f"Bearer {KEY}")
    with urlopen(asked) as response:
        link = f"{visitor.address}/#reset?user=ria&token={json.load(response)['token']}"

    for outcome in ("The password is changed.", "This link is too old, or was used."):
        page.goto("about:blank")
        page.goto(link)
        visitor.field("New password").fill(OTHER)
        assert page.url == f"{visitor.address}/#reset"
        page.get_by_role("button", name="Change the password").click()
        expect(page.get_by_text(outcome)).to_be_visible()
    page.get_by_role("link", name="Log in").click()
    visitor.log_in("ria", OTHER)

    visitor.sees_account("ria")


def test_an_account_ends_with_its_password(visitor: Visitor) -> None:
    """Its user deletes it, and logs in no more."""
    page = visitor.page
    visitor.sign_up("del", PASSWORD)
    page.get_by_text("Delete this account").click()
    page.locator("#delete-password").fill(PASSWORD)
    page.get_by_role("button", name="Delete it for ever").click()
    visitor.sees_notice("Your account is deleted.")

    visitor.log_in("del", PASSWORD)

    expect(page.locator("#login-form [role=alert]")).to_contain_text("do not match")


def test_a_login_at_the_cap_asks_what_is_to_end(visitor: Visitor, browser: Browser, address: str) -> None:
    """The user chooses which device is logged out, and the login goes on; too few are refused."""
    visitor.sign_up("cas", PASSWORD)
    with visiting(browser, address) as second:
        page = second.page
        page.get_by_label("Keep me logged in").check()
        second.log_in("cas", PASSWORD)
        expect(page.get_by_role("heading", name="Too many devices")).to_be_visible()
        page.get_by_role("button", name="Log in here").click()
        expect(page.get_by_role("heading", name="Too many devices")).to_be_visible()
        page.get_by_label(re.compile("Chrome")).check()
        page.get_by_role("button", name="Log in here").click()
        second.sees_account("cas")
        visitor.sees_notice("You were logged out because you logged in on another device")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_light_or_dark_as_its_user_likes(scheme: str, browser: Browser, address: str) -> None:
    """Text and ground follow prefers-color-scheme, and their contrast is that of WCAG 2.2 AA or more."""
    with visiting(browser, address, color_scheme=scheme) as visitor:
        style = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"
        body = [_luminance(color) for color in visitor.page.locator("body").evaluate(style)]
        button = [_luminance(color) for color in visitor.page.locator("#login-form button:not([type])").evaluate(style)]

    assert (body[0] > body[1]) == (scheme == "dark")
    assert _contrast(body) >= 4.5
    assert _contrast(button) >= 4.5


def _luminance(color: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    shares = [int(number) / 255 for number in re.findall(r"\d+", color)[:3]]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(luminances: list[float]) -> float:
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)
