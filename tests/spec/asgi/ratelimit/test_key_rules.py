"""Key rules: no client is counted under the key of another one, or escapes a limit by leaving a header out."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asgi import limiter_with
from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.asgi.ratelimit.key_rules import KeyRule, check_rule, key_finder, resembles_rule, resolve_key
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, limiter_source
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings

ADDRESS = "192.0.2.1"
SECRET = (b"s" * 32,)


PLAIN = limiter_source("redis://elsewhere")


class NoStore:
    """A store for a limiter that is never called."""

    async def run(self, script: str, keys: Any, args: Any) -> list[Any]:
        raise NotImplementedError


UNUSED = Limiter(NoStore(), {}, Keyring(secrets=()), Metrics())


async def key_of(
    rule: KeyRule, source: LimiterSource = PLAIN, parameters: dict[str, Any] | None = None, **scope: Any
) -> str:
    """Ask a rule about a request."""

    async def send(_: Any) -> None:
        raise NotImplementedError

    context = RequestContext(source, UNUSED, {"client": (ADDRESS, 1), "headers": [], **scope}, send)
    context.path_parameters = parameters or {}
    return await resolve_key(key_finder(rule)(context), context)


def headers(**given: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()]


ADA = SimpleNamespace(id=7, username="ada")

FOUND: list[tuple[str, dict[str, Any], str]] = [
    ("address", {}, ADDRESS),
    ("address", {"client": ("2001:db8:1:2::7", 1)}, "2001:db8:1:2::/64"),
    ("user", {"user": "ada"}, "user:ada"),
    ("user", {"user": 7}, "user:7"),
    ("user", {"user": 0}, "user:0"),
    ("user", {"user": ADA}, "user:7"),
    ("user", {"user": SimpleNamespace(pk="a-b")}, "user:a-b"),
    ("user", {"user": SimpleNamespace(id=None, username="ada")}, "user:ada"),
    ("user", {"user": SimpleNamespace(is_authenticated=True, display_name="ada")}, "user:ada"),
    ("header:x-tenant", {"headers": headers(x_tenant="acme")}, "header:x-tenant:acme"),
    ("header:X-Tenant", {"headers": [(b"X-TENANT", b" acme ")]}, "header:x-tenant:acme"),
    (
        "header:x-tenant",
        {"headers": [*headers(x_tenant="first"), *headers(x_tenant="second")]},
        "header:x-tenant:first",
    ),
    ("path:tenant", {"parameters": {"tenant": "acme"}}, "path:tenant:acme"),
    ("path:tenant", {"path_params": {"tenant": 7}}, "path:tenant:7"),
    ("path:tenant", {"parameters": {"tenant": "own"}, "path_params": {"tenant": "other"}}, "path:tenant:own"),
]


@pytest.mark.parametrize(("rule", "request_parts", "key"), FOUND)
async def test_a_rule_finds_whom_to_count(rule: str, request_parts: dict[str, Any], key: str) -> None:
    """A key says by which rule it was found; addresses stand for themselves."""
    assert await key_of(rule, **request_parts) == key


NOBODY: list[tuple[str, dict[str, Any]]] = [
    ("user", {}),
    ("user", {"user": SimpleNamespace(is_authenticated=False, display_name="")}),
    ("user", {"user": SimpleNamespace(name="unknown kind of user")}),
    ("user", {"user": ""}),
    ("user", {"headers": headers(authorization="Bearer v1.nonsense")}),
    ("session", {"headers": headers(cookie="__Host-tollhouse=v1.nonsense; other=1")}),
    ("api-key", {}),
    ("api-key", {"headers": headers(authorization="Bearer ")}),
    ("header:x-tenant", {"headers": headers(x_other="acme")}),
    ("header:x-tenant", {"headers": headers(x_tenant="")}),
    ("path:tenant", {}),
]


@pytest.mark.parametrize(("rule", "request_parts"), NOBODY)
async def test_a_rule_that_finds_nobody_gives_way_to_the_address(rule: str, request_parts: dict[str, Any]) -> None:
    """Who leaves out what a rule asks for is counted by address, so that this is no way around the limit."""
    assert await key_of(rule, **request_parts) == ADDRESS


async def test_api_keys_are_counted_by_digest() -> None:
    """An API key is found in X-Api-Key, else in Authorization, and shows up nowhere: it is a secret."""
    by_header = await key_of("api-key", headers=headers(x_api_key="secret-key"))
    by_bearer = await key_of("api-key", headers=headers(authorization="Bearer secret-key"))
    other = await key_of("api-key", headers=headers(x_api_key="another-key"))

    assert by_header == by_bearer != other
    assert by_header.startswith("api-key:")
    assert "secret-key" not in by_header


async def test_a_function_may_find_whom_to_count() -> None:
    """A function of the scope gives the key, plain or async; None gives way to the address, and a number is text."""

    async def later(scope: Any) -> str:
        return scope["path"]

    assert await key_of(lambda scope: scope["path"], path="/a") == "/a"
    assert await key_of(later, path="/a") == "/a"
    assert await key_of(lambda _: None) == ADDRESS
    assert await key_of(lambda _: 7) == "7"


WRITTEN = [("ada", "ada"), (7, "7"), (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"), (None, ADDRESS)]


@pytest.mark.parametrize(("found", "key"), WRITTEN)
async def test_a_function_may_return_text_a_number_or_a_uuid(found: Any, key: str) -> None:
    """What a function finds is written as text if that is the same for every request; None is the address."""
    assert await key_of(lambda _: found) == key


@pytest.mark.parametrize("found", [True, 1.5, b"ada", ["ada"], object()])
async def test_what_has_no_lasting_text_is_no_key(found: Any) -> None:
    """The text of any other object may change from request to request, and the limit would count nothing."""
    with pytest.raises(InvalidInput) as refused:
        await key_of(lambda _: found)

    assert (refused.value.field, refused.value.value) == ("key", type(found).__name__)


async def test_our_own_sessions_are_verified(world: StoreWorld) -> None:
    """`session` and `user` believe a token only if it opens a session; the user in the scope comes first."""
    settings = Settings(url=world.url, secret=SECRET)
    source = limiter_source(settings)
    async with wiring.open(settings) as tollhouse:
        issued = await tollhouse.sessions.create(user="ada")
        assert isinstance(issued, Issued)
        token, sid = issued.token.reveal(), issued.session.sid
        bearer, cookie = headers(authorization=f"Bearer {token}"), headers(cookie=f"a=1; __Host-tollhouse={token}")

        alive = [
            await key_of(rule, source, headers=given) for rule in ("session", "user") for given in (bearer, cookie)
        ]
        known = await key_of("user", source, headers=bearer, user="eve")
        await tollhouse.sessions.revoke("ada", sid)
        dead = [await key_of(rule, source, headers=bearer) for rule in ("session", "user")]

    await source.aclose()
    assert alive == [f"session:{sid}", f"session:{sid}", "user:ada", "user:ada"]
    assert known == "user:eve"
    assert dead == [ADDRESS, ADDRESS]


async def test_a_session_that_cannot_be_looked_up_counts_for_the_address(tmp_path: Path, world: StoreWorld) -> None:
    """While the sessions do not answer, limits go on: by the address."""
    async with wiring.open(Settings(url=world.url, secret=SECRET)) as tollhouse:
        issued = await tollhouse.sessions.create(user="ada")
        assert isinstance(issued, Issued)
    down = limiter_source(Settings(url=f"unix://{tmp_path}/no.sock", secret=SECRET, deadline_ms=50))

    key = await key_of("session", down, headers=headers(authorization=f"Bearer {issued.token.reveal()}"))
    await down.aclose()

    assert key == ADDRESS


async def test_sessions_need_a_secret(world: StoreWorld) -> None:
    """`session` is refused if sessions cannot be verified; `user` then finds only the user in the scope."""
    without = limiter_source("redis://elsewhere")
    handed_in = limiter_source(limiter_with(world, {}))

    for source in (without, handed_in):
        with pytest.raises(ConfigurationError) as refused:
            check_rule("session", source)
        assert (refused.value.setting, refused.value.value) == ("key", "session")
        assert await key_of("user", source, headers=headers(authorization="Bearer v1.token")) == ADDRESS


MISTAKES = [
    ("adress", "did you mean 'address'?"),
    ("users", "did you mean 'user'?"),
    ("ip", "known are address, user, session, api-key, header:NAME, path:NAME; or give a function"),
    ("header", "header:x-tenant"),
    ("path:", "path:tenant"),
    ("user:ada", "did you mean 'user'?"),
    ("", "known are address"),
]


@pytest.mark.parametrize(("rule", "remedy"), MISTAKES)
def test_words_that_are_no_rule_are_refused(rule: str, remedy: str) -> None:
    """What is no rule is a ConfigurationError with the rule that was meant, or all there are."""
    with pytest.raises(ConfigurationError) as refused:
        key_finder(rule)

    assert remedy in refused.value.remedy


@pytest.mark.parametrize("rule", ["address", "user", "session", "api-key", "header:x-tenant", "path:tenant"])
def test_every_rule_of_a_policy_is_known_here(rule: str) -> None:
    """What a policy may say as its key is a rule that middleware can follow."""
    policy = parse_policy("api", "1/minute", key=rule)

    assert policy.key == rule
    assert callable(key_finder(rule))


def test_a_text_that_is_far_from_a_rule_is_none() -> None:
    """A text that is a rule, or similar to one, is read as a rule; any other text is a key."""
    assert [text for text in ("address", "adress", "header:x", "users") if not resembles_rule(text)] == []
    assert [text for text in ("mail", "tenant:acme", "everyone", "") if resembles_rule(text)] == []


@given(st.text(max_size=50), st.text(max_size=50))
async def test_no_user_is_mistaken_for_another(one: str, other: str) -> None:
    """Different users have different keys, and none has the key of an address."""
    keys = [await key_of("user", PLAIN, user=user) for user in (one, other)]

    assert (keys[0] == keys[1]) == (one == other)
    assert all(key == ADDRESS or key.startswith("user:") for key in keys)
