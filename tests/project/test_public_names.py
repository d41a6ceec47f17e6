"""What is public is named in `tollhouse/__init__.py`, and pinned here."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import pytest_tollhouse
import tollhouse
from tollhouse import testing

pytestmark = pytest.mark.project

PUBLIC = (
    "AccountCreated",
    "AccountDeleted",
    "AccountOverview",
    "AccountSettings",
    "AccountStatus",
    "Accounts",
    "AiSettings",
    "Argon2Settings",
    "AttemptThrottled",
    "Cache",
    "CacheDecorator",
    "CacheDetail",
    "CacheKeys",
    "CacheLifetimes",
    "CacheManager",
    "CacheResult",
    "CacheService",
    "CacheSettings",
    "CacheStats",
    "CacheTTL",
    "CacheUsage",
    "CachedFunction",
    "CapReached",
    "Charge",
    "CodeDue",
    "ConfigurationError",
    "CredentialStore",
    "Credentials",
    "CredentialsFunction",
    "DataRefused",
    "DataResult",
    "Decision",
    "DeviceToken",
    "Dialect",
    "DisableResult",
    "EnableResult",
    "EveryoneResult",
    "FactorRefused",
    "FactorsChanged",
    "FactorsRemoved",
    "FamilyStats",
    "HitLayers",
    "HttpResponse",
    "Impersonation",
    "ImpersonationEnded",
    "ImpersonationRefused",
    "InvalidInput",
    "Issued",
    "KeptWarm",
    "KeyRule",
    "Lease",
    "LevelDue",
    "Limit",
    "LimitSettings",
    "LimitState",
    "Limiter",
    "LoadFailed",
    "LoadTimeout",
    "LoginSucceeded",
    "LoginTicket",
    "Metrics",
    "MissCauses",
    "Model",
    "ModelSettings",
    "Models",
    "NameTaken",
    "NoAccount",
    "Overloaded",
    "Passkey",
    "PasskeyAdded",
    "PasskeyConfirmed",
    "PasskeyOptions",
    "PasskeyRefused",
    "PasskeySettings",
    "Passkeys",
    "PasskeysOff",
    "PasswordChanged",
    "PasswordConfirmed",
    "PasswordDue",
    "PendingInvalidations",
    "Policy",
    "PolicyChoice",
    "PolicyDefinition",
    "PolicySettings",
    "QueuedWrite",
    "RateLimitMiddleware",
    "RateLimitRule",
    "RateLimited",
    "RecoveryCode",
    "RecoveryCodesMade",
    "RefusalHandler",
    "Reservation",
    "ResetRefused",
    "ResetToken",
    "Results",
    "RevokeAllResult",
    "RevokeResult",
    "Rotation",
    "ScriptFailed",
    "SecondFactorDue",
    "Session",
    "SessionData",
    "SessionEnd",
    "SessionEvent",
    "SessionEventBatch",
    "SessionEventReader",
    "SessionPolicy",
    "SessionPolicySettings",
    "SessionRefused",
    "SessionSettings",
    "Sessions",
    "Settings",
    "SettingsWatcher",
    "Settlement",
    "StepUpRefused",
    "StoreCredentials",
    "StoreError",
    "StoreUnavailable",
    "StoredHash",
    "Take",
    "TakeAllResult",
    "ThrottleSettings",
    "Ticket",
    "TicketRefused",
    "Token",
    "Tollhouse",
    "TollhouseError",
    "TooManyAttempts",
    "TotpEnrolment",
    "TotpSeed",
    "TotpSettings",
    "WarmFailure",
    "WarmReport",
    "WeakPassword",
    "WriteBehind",
    "WriteReceipt",
    "WriteResult",
    "WrongCode",
    "WrongCredentials",
    "cache_headers",
    "cache_response",
    "cached",
    "current_decision",
    "current_decisions",
    "decode_credentials",
    "invalidate_cache",
    "invalidate_cache_for",
    "invalidates",
    "limit",
    "load_settings",
    "open",
    "rate_limited_response",
    "rcached",
    "satisfies",
    "tune_gc",
)
FOR_TESTS = ("CredentialStoreConformance", "World", "cache_off", "cache_on", "limits_off")
"""What `tollhouse.testing` has for the tests of apps."""
FIXTURES = ("tollhouse_cache", "tollhouse_cache_off", "tollhouse_limits_off", "tollhouse_url", "tollhouse_world")
"""The fixtures of the pytest plugin."""

PUBLIC_MODULES = ("tollhouse", "tollhouse.fastapi", "tollhouse.litestar")
MADE_BY_TOLLHOUSE = frozenset(
    {
        "Accounts",
        "Cache",
        "KeptWarm",
        "Limiter",
        "Passkeys",
        "PendingInvalidations",
        "Results",
        "Sessions",
        "SettingsWatcher",
    }
    | {"SessionEventReader", "WriteBehind"}
)
"""Classes whose objects an open Tollhouse has; their constructors are not public."""
ALIASES = {
    "Charge",
    "CredentialsFunction",
    "Dialect",
    "KeyRule",
    "PolicyChoice",
    "PolicyDefinition",
    "RefusalHandler",
}
OF_THE_SERVICE = frozenset({"Tollhouse.keyring", "Limiter.refusals", "Limiter.submit"})
"""What only our own service and edges use."""


def test_the_public_names_are_these() -> None:
    """A name becomes public, or stops to be, only together with this list."""
    assert tuple(tollhouse.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(tollhouse, name)] == []


def test_every_public_name_is_documented() -> None:
    """Each public class and function says in its docstring what a caller may rely on; an alias of types has none."""
    public = {name: getattr(tollhouse, name) for name in PUBLIC}
    described = {name for name, value in public.items() if isinstance(value, type | FunctionType) and value.__doc__}

    assert set(PUBLIC) - described == ALIASES


def test_public_signatures_have_public_types_only() -> None:
    """A user can name the type of each value that a public function takes, returns or has as a field."""
    modules = [importlib.import_module(name) for name in PUBLIC_MODULES]
    public = {name: getattr(module, name) for module in modules for name in module.__all__}
    known = [value for value in public.values() if isinstance(value, type)]

    private = {
        f"{place}: {found.__module__}.{found.__qualname__}"
        for name, value in public.items()
        for place, function in _functions(name, value)
        for found in _classes(list(_hints(function).values()))
        if found not in known
    }

    assert private == set()


def _functions(name: str, value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a public function, or a class with its public methods and properties."""
    if not isinstance(value, type):
        if hasattr(value, "__annotations__"):
            yield name, value
        return
    yield name, value
    for member, found in vars(value).items():
        place = f"{name}.{member}"
        is_public = not member.startswith("_") or (member == "__init__" and name not in MADE_BY_TOLLHOUSE)
        if is_public and place not in OF_THE_SERVICE:
            inner = found.fget if isinstance(found, property) else found
            inner = inner.func if isinstance(inner, cached_property) else inner
            if callable(inner):
                yield place, inner


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types in a signature; those of a framework that it imports for type checkers alone are left out."""
    hints = getattr(function, "__annotations__", {})
    try:
        return get_type_hints(function)
    except NameError:
        assert not [hint for hint in hints.values() if "tollhouse" in str(hint)]
        return {}


def _classes(hint: Any) -> Iterator[type]:
    """Yield the classes of ours in a type."""
    if isinstance(hint, list):
        for one in hint:
            yield from _classes(one)
    elif get_origin(hint) is not Literal:
        yield from _classes(list(get_args(hint)))
        found = get_origin(hint) or hint
        if isinstance(found, type) and found.__module__.startswith("tollhouse."):
            yield found


def test_the_names_for_tests_of_apps_are_these() -> None:
    """`tollhouse.testing` and the fixtures of the plugin are public, pinned and documented like the rest."""
    fixtures = {name: value for name, value in vars(pytest_tollhouse).items() if name.startswith("tollhouse_")}

    assert tuple(testing.__all__) == FOR_TESTS
    assert tuple(sorted(fixtures)) == FIXTURES
    assert [name for name in FOR_TESTS if not getattr(testing, name).__doc__] == []
    assert [name for name in FIXTURES if not fixtures[name].__doc__] == []


def test_the_pytest_plugin_loads_nothing_of_the_package() -> None:
    """Loading the plugin, which pytest does in every run of an environment, imports no module of the package."""
    code = "import pytest_tollhouse, sys; sys.exit(any(name.startswith('tollhouse') for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "module",
    [
        "click",
        "fakeredis",
        "fastapi",
        "httptools",
        "litestar",
        "numpy",
        "py3langid",
        "redis",
        "rich",
        "starlette",
        "uvicorn",
        "uvloop",
    ],
)
def test_importing_the_package_loads_no_framework(module: str) -> None:
    """`import tollhouse` in an app of any framework loads neither Litestar nor what only the service needs."""
    code = f"import sys, tollhouse; sys.exit({module!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
