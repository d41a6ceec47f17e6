"""What the documents and the examples show is typed as strictly as a user may type."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.project import user_code

pytestmark = pytest.mark.project

LAMBDAS = """\
import tollhouse


@tollhouse.limit("5/minute", key=lambda: "all")
def none() -> int:
    return 1


@tollhouse.limit("5/minute", key=lambda user: user, cost=lambda user: 2)
async def one(user: str) -> int:
    return len(user)


@tollhouse.limit("5/minute", key=lambda user, number, third=None: user)
def some(user: str, number: int, third: str | None = None) -> int:
    return number


@tollhouse.limit("5/minute", key=lambda: "all", on_refusal=lambda refused: refused.decision.cost)
def answered() -> int:
    return 1


@tollhouse.limit("5/minute", key=lambda user: user, on_refusal=lambda refused, user: len(refused.decision.key))
async def answered_with(user: str) -> int:
    return len(user)


def other(refused: tollhouse.RateLimited, user: str, number: int = 1) -> int:
    return number


@tollhouse.limit("5/minute", key=lambda user, number=1: user, on_refusal=other)
async def answered_by(user: str, number: int = 1) -> int:
    return number


class Mail:
    @tollhouse.limit("5/minute", key=lambda self, user: user)
    async def send(self, user: str) -> bytes:
        return user.encode()


async def kept() -> tuple[int, int, int, bytes]:
    return none(), await one("ada"), some("ada", 1), await Mail().send("ada")
"""
LOADED = """\
from dataclasses import dataclass

import tollhouse


@dataclass
class User:
    name: str


async def words() -> dict[str, int]:
    return {"one": 1}


async def user() -> User:
    return User("ada")


async def loaded(cache: tollhouse.Cache) -> tuple[dict[str, int], User, int]:
    found = await cache.fetch("words", words)
    return await cache.get_or_load("words", words), await cache.get_or_load("u", user, type=User), found.value["one"]
"""
CACHED = """\
from dataclasses import dataclass

import tollhouse
from tollhouse import cache_response, cached, invalidate_cache, invalidate_cache_for, invalidates, rcached


@dataclass
class User:
    name: str

    def __cache_key__(self) -> str:
        return self.name

    @rcached(ttl=60, tags=["user:{number}"])
    async def friends(self, number: int, *, use_cache: bool = True) -> "list[User]":
        return [self]

    @cached(ttl=60, ignore=("self",))
    def plain(self, number: int) -> int:
        return number

    @invalidates(tags=["user:{number}"])
    async def rename(self, number: int) -> str:
        return self.name


@rcached(ttl=60, key=lambda number, text: f"user:{number}", tags=lambda user: [f"name:{user.name}"], cache="fake://a")
async def load(number: int, text: str = "") -> User:
    return User(text)


@cache_response(key_prefix="expensive:operation", ttl=60, version=2, cache=tollhouse.Settings(url="fake://a"))
def operation(number: int) -> User | None:
    return None


@invalidate_cache(patterns=["expensive:operation:*"], tags=("user:{number}",))
@invalidate_cache_for(load, ["number"])
@invalidate_cache_for(operation, lambda number: (number,))
@invalidate_cache_for(operation)
async def change(number: int) -> str:
    return str(number)


async def used(user: User) -> tuple[str, User | None, list[User], int]:
    keys: list[str] = [load.key(1, text="a"), operation.key(1), User.friends.key(user, 1)]
    gone: list[bool] = [await load.invalidate(1), operation.invalidate(1), await User.friends.invalidate(user, 1)]
    sources = {(await load.fetch(1)).status, operation.fetch(1).status, (await User.friends.fetch(user, 1)).status}
    fetched: list[User | None] = [(await load.fetch(1)).value, operation.fetch(1).value]
    found = [await load(1), await load.refresh(1), *(await user.friends(1, use_cache=len(keys) > len(gone)))]
    assert len(sources) == len(fetched)
    return await change(1) + await user.rename(1), operation(1) or operation.refresh(1), found, user.plain(1)
"""
POLICIES = """\
import tollhouse

policy = tollhouse.Policy(name="own", limits=(tollhouse.Limit(units=5, window_ms=60_000),))
plain: dict[str, str] = {"api": "5/minute"}
table = {"api": {"limit": "5/minute", "on_outage": "closed"}}
mixed = {"a": "5/minute", "b": {"limit": "5/s", "cost": 2}, "c": tollhouse.PolicySettings(limit="1/s"), "own": policy}

tollhouse.open("fake://", policies=plain)
tollhouse.open("fake://", policies=table)
tollhouse.open("fake://", policies={"api": {"limit": "5/minute", "cost": 2}, "own": policy, "c": "1/s"})
"""
IGNORED = "# type: " + "ignore[arg-type]"
WRONG = f'import tollhouse\n\ntollhouse.open("fake://", policies=["5/minute"])  {IGNORED}\n'
"""A mistake: a checker that does not see it reports that the comment is unused."""
CHECKERS = [user_code.pyright, user_code.mypy]

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None and "CI" not in os.environ, reason="mypy is missing: run `make install`"
)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every module that the documents show, and with those of this file."""
    folder = tmp_path_factory.mktemp("user-code")
    assert {"readme_1", "limits_1", "fastapi_app"} <= set(user_code.write_modules(folder))
    own = {"lambdas": LAMBDAS, "loaded": LOADED, "cached": CACHED, "policies": POLICIES, "wrong": WRONG}
    for name, text in own.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


@needs_mypy
@pytest.mark.parametrize("checker", CHECKERS, ids=["pyright", "mypy"])
def test_what_is_shown_passes_strict_type_checkers(checker: user_code.Checker, checked: Path) -> None:
    """README, docs and examples have no error as a user's code; nor have lambdas, loaded values and policies."""
    assert checker(checked) == ""
