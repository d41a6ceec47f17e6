"""Writes docs/asvs.md from the tests that are marked: python -m tests.project.asvs > docs/asvs.md.

A test that shows a requirement of OWASP ASVS 5.0 is marked with its numbers: `@pytest.mark.asvs("7.2.4")`. What stands
here about each requirement are words of our own; the text that counts is OWASP's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.project.imports import ROOT


class Requirement(Struct, frozen=True):
    """A requirement: its level, what it asks for, and, if no test of ours can show it, why or what shows it."""

    level: int
    asks: str
    instead: str = ""


APP: Final = "the application's: it makes the pages"
NO_SSO: Final = "no federated identities: a login is a password, or the application's own"

NO_MESSAGES: Final = "no codes are sent: the user's app makes them"

REQUIREMENTS: Final[Mapping[str, Requirement]] = {
    "3.1.1": Requirement(3, "documented features that browsers must have", "[sessions.md](sessions.md#browsers)"),
    "3.2.1": Requirement(1, "no response is rendered in a context that it is not for"),
    "3.2.2": Requirement(1, "text is shown as text", APP),
    "3.3.1": Requirement(1, "cookies are Secure, and their names say so"),
    "3.3.2": Requirement(2, "SameSite as the cookie's purpose asks"),
    "3.3.3": Requirement(2, "`__Host-` in the names of cookies"),
    "3.3.4": Requirement(2, "HttpOnly, and the value in Set-Cookie alone"),
    "3.3.5": Requirement(3, "name and value of a cookie within 4,096 bytes"),
    "3.4.1": Requirement(
        1, "Strict-Transport-Security", "that of the proxy that ends TLS: the policy is a whole domain's"
    ),
    "3.4.2": Requirement(1, "no origin is allowed by CORS that is not trusted"),
    "3.4.3": Requirement(2, "a Content-Security-Policy with `object-src` and `base-uri` 'none'"),
    "3.4.4": Requirement(2, "`X-Content-Type-Options: nosniff`"),
    "3.4.5": Requirement(2, "a Referrer-Policy that gives no address away"),
    "3.4.6": Requirement(2, "`frame-ancestors`: no page embeds a response"),
    "3.4.7": Requirement(3, "a place to report violations of the policy", "no scripts, so there is nothing to report"),
    "3.5.1": Requirement(1, "requests that need no preflight are checked for their origin"),
    "3.5.2": Requirement(1, "what relies on preflights cannot be called without one"),
    "3.5.3": Requirement(1, "safe methods change nothing"),
    "3.5.4": Requirement(2, "applications have hostnames of their own", "the operator's: docs/deploying.md"),
    "3.5.5": Requirement(2, "postMessage checks its origin", APP),
    "3.5.6": Requirement(3, "no JSONP"),
    "3.5.7": Requirement(3, "no private data in scripts"),
    "3.6.1": Requirement(3, "integrity of external assets", "none are used"),
    "3.7.1": Requirement(2, "no client technology that is out of support", "none is used"),
    "3.7.2": Requirement(2, "redirects go to known places", "no route of sessions redirects"),
    "3.7.3": Requirement(3, "HSTS preloading", "the operator's, as 3.4.1"),
    "3.7.4": Requirement(3, "a notice before a redirect elsewhere", "no route of sessions redirects"),
    "3.7.5": Requirement(3, "what happens in browsers without those features", "[sessions.md](sessions.md#browsers)"),
    "6.1.1": Requirement(1, "documented controls against guesses and stuffing, which keep no owner out"),
    "6.1.2": Requirement(2, "words of the context, which no password may be, are documented"),
    "6.1.3": Requirement(
        2, "all ways to authenticate are documented, with what each is worth", "[accounts.md](accounts.md#ways-in)"
    ),
    "6.2.1": Requirement(1, "passwords of 8 characters or more; 15 are recommended"),
    "6.2.2": Requirement(1, "users can change their password"),
    "6.2.3": Requirement(1, "a change takes the former password and the new one"),
    "6.2.4": Requirement(1, "none of the 3,000 most frequent passwords that match the policy"),
    "6.2.5": Requirement(1, "any characters, and no rules about kinds of them"),
    "6.2.6": Requirement(1, "password fields hide what is in them, and show it while their user wants to see it"),
    "6.2.7": Requirement(1, "paste and password managers are let through"),
    "6.2.8": Requirement(1, "a password is verified as it was received, in full"),
    "6.2.9": Requirement(2, "passwords of 64 characters and more"),
    "6.2.10": Requirement(2, "a password is good until its user changes it, or it is known to others"),
    "6.2.11": Requirement(2, "no password of the documented words of the context"),
    "6.2.12": Requirement(2, "no password of a set of breached ones"),
    "6.3.1": Requirement(1, "those controls against guesses and stuffing"),
    "6.3.2": Requirement(1, "no default accounts"),
    "6.3.3": Requirement(2, "more than one factor, for users who add one"),
    "6.3.4": Requirement(2, "no way in is weaker than the documented ones"),
    "6.3.5": Requirement(
        3,
        "users are told of suspicious attempts",
        "not of attempts, which others could make by the thousand; of each session that begins there is an event",
    ),
    "6.3.6": Requirement(3, "no authentication by e-mail"),
    "6.3.7": Requirement(3, "users can be told of a change of their credentials"),
    "6.3.8": Requirement(3, "messages, status codes and times do not tell which accounts exist"),
    "6.4.1": Requirement(1, "what sets a first password is random, is over soon and after its use, and is none itself"),
    "6.4.2": Requirement(1, "no password hints, and no secret questions", "there are none"),
    "6.4.3": Requirement(2, "the reset of a password passes no other factor"),
    "6.4.4": Requirement(
        2, "an identity is proven as at the enrolment if a factor was lost", "[accounts.md](accounts.md#lost-factors)"
    ),
    "6.4.5": Requirement(3, "users are reminded in time of factors that expire", "no factor expires"),
    "6.4.6": Requirement(3, "administrators begin a reset, and choose no password"),
    "6.5.1": Requirement(2, "codes and recovery codes are good once"),
    "6.5.2": Requirement(2, "stored recovery codes of less than 112 bits are hashed as passwords are"),
    "6.5.3": Requirement(2, "recovery codes and seeds of one-time passwords are of a CSPRNG"),
    "6.5.4": Requirement(2, "recovery codes of 20 bits or more"),
    "6.5.5": Requirement(2, "one-time passwords live for 30 seconds at most"),
    "6.5.6": Requirement(3, "a factor that is lost can be removed"),
    "6.5.7": Requirement(
        3,
        "biometrics only beside something that the user has",
        "they unlock a passkey on its device, and never leave it",
    ),
    "6.5.8": Requirement(3, "one-time passwords count by a clock of the service"),
    "6.6.1": Requirement(2, "codes by telephone only beside stronger factors", NO_MESSAGES),
    "6.6.2": Requirement(2, "codes that are sent are good for the request that they were sent for", NO_MESSAGES),
    "6.6.3": Requirement(2, "guesses at codes are limited"),
    "6.6.4": Requirement(3, "no floods of push messages", NO_MESSAGES),
    "6.7.1": Requirement(
        3, "certificates that verify assertions are kept from changes", "none are used: no attestation is asked for"
    ),
    "6.7.2": Requirement(3, "challenges that a device signs are unique, with 64 bits or more"),
    "7.1.1": Requirement(2, "documented timeouts, with reasons", "[sessions.md](sessions.md#timeouts)"),
    "7.1.2": Requirement(2, "documented number of sessions at a time", "[sessions.md](sessions.md#the-cap)"),
    "7.1.3": Requirement(2, "documented lifetimes of federated sessions", NO_SSO),
    "7.2.1": Requirement(1, "tokens are verified by a trusted service"),
    "7.2.2": Requirement(1, "tokens are made for each session"),
    "7.2.3": Requirement(1, "reference tokens are unique, of a CSPRNG, with 128 bits or more"),
    "7.2.4": Requirement(1, "a new token at each authentication, and the end of the former"),
    "7.3.1": Requirement(2, "an inactivity timeout"),
    "7.3.2": Requirement(2, "an absolute lifetime"),
    "7.4.1": Requirement(1, "after logout or expiry nothing of the session can be used"),
    "7.4.2": Requirement(1, "disabling a user ends all sessions"),
    "7.4.3": Requirement(2, "other sessions can be ended after a change of a factor"),
    "7.4.4": Requirement(2, "logout is visible on every page", APP),
    "7.4.5": Requirement(2, "administrators end the sessions of one user, or of all"),
    "7.5.1": Requirement(2, "another authentication before sensitive attributes change"),
    "7.5.2": Requirement(2, "users see their sessions, and end them after another authentication"),
    "7.5.3": Requirement(3, "another authentication before highly sensitive operations"),
    "7.6.1": Requirement(2, "lifetimes between relying parties and identity providers", NO_SSO),
    "7.6.2": Requirement(2, "a session begins by an action of its user"),
}

CHAPTERS: Final = {"3": "V3 Web frontend", "6": "V6 Authentication", "7": "V7 Session management"}

HEAD = """\
# Passwords, sessions and OWASP ASVS 5.0

What chapters V3 (web frontend), V6 (authentication, so far new passwords and second factors) and V7 (sessions) of the
[Application Security Verification Standard](https://github.com/OWASP/ASVS/tree/v5.0.0/5.0/en) ask for, in our words,
and the tests that show it. The numbers are those of the standard, as `v5.0.0-7.2.4`. Run them with `pytest -m asvs`.

This page is written by `python -m tests.project.asvs > docs/asvs.md`, and a test compares the two.
"""


def marked(folder: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Return the tests that are marked for each requirement, as `path::name`."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for name, number in _marks(ast.parse(text)) if "mark.asvs" in text else ():
            found.setdefault(number, []).append(f"{path.relative_to(folder.parent)}::{name}")
    return found


def page() -> str:
    """Return the text of docs/asvs.md."""
    tests = marked()
    parts = [HEAD]
    for chapter, title in CHAPTERS.items():
        parts.append(f"\n## {title}\n\n| number | level | asks for | shown by |\n|---|---|---|---|\n")
        for number, requirement in REQUIREMENTS.items():
            if number.startswith(f"{chapter}."):
                shown = "<br>".join(f"`{test}`" for test in tests.get(number, ())) or requirement.instead or "not yet"
                parts.append(f"| {number} | L{requirement.level} | {requirement.asks} | {shown} |\n")
    return "".join(parts)


def _marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.asvs":
                    for argument in decorator.args:
                        yield node.name, ast.literal_eval(argument)


if __name__ == "__main__":
    sys.stdout.write(page())
