"""Paths that are spelled otherwise than a pattern, and which pattern they meet."""

from __future__ import annotations

from typing import Any

import pytest

from tollhouse.asgi.route_patterns import RoutePatterns, path_below, plain_spelling
from tollhouse.errors import ConfigurationError


def find(patterns: dict[str, str | None], path: str, root_path: str = "", own: str = "", method: str = "POST") -> Any:
    """Return the value of the pattern that a request meets, or `default`, and the path parameters."""
    routes = RoutePatterns(patterns, lambda value: value is None, own)
    return routes.find({"type": "http", "method": method, "path": path, "root_path": root_path}) or ("default", {})


#   path              plain spelling
SPELLINGS = [
    ("/", "/"),
    ("", "/"),
    ("/login", "/login"),
    ("/login/", "/login/"),
    ("//login", "/login"),
    ("///a//b//", "/a/b/"),
    ("/./login", "/login"),
    ("/a/../login", "/login"),
    ("/../login", "/login"),
    ("/a/..", "/"),
    ("/login\n", "/login"),
    ("/login \t\x00", "/login"),
    ("/login.", "/login"),
    ("/login...", "/login"),
    ("/login;a=1", "/login"),
    ("/login;a=1/x;b", "/login/x"),
    ("/log%69n", "/login"),
    ("/a%2Flogin", "/a/login"),
    ("/a%zz", "/a%zz"),
    ("\\login", "/login"),
    ("http://app/login", "/login"),
    ("http:/login", "/login"),
    ("http://[/login", "/login"),
    ("/http://app/login", "/http:/app/login"),
    ("/LOGIN", "/LOGIN"),
    ("/a.b/.c", "/a.b/.c"),
]


@pytest.mark.parametrize(("path", "plain"), SPELLINGS)
def test_a_path_has_one_plain_spelling(path: str, plain: str) -> None:
    """Empty and dotted parts, matrix parameters, escapes, backslashes, trailing white space and dots are left out."""
    assert plain_spelling(path) == plain


@pytest.mark.parametrize("path", [path for path, plain in SPELLINGS if plain.strip("/").lower() == "login"])
def test_a_pattern_holds_for_every_spelling_of_its_path(path: str) -> None:
    """A request that some framework routes to `/login` meets the limit of `/login`, whatever stands behind it."""
    assert find({"POST /login": "login", "/*": "api"}, path) == ("login", {})
    assert find({"POST /login": "login"}, path, method="post") == ("login", {})


#   path below or beside the mount   root path   the application's own
MOUNTED = [
    ("/api//login", "/api", ""),
    ("/x/api/login", "/api", ""),
    ("/apilogin", "/api", ""),
    ("/api/login", "/api/", ""),
    ("/api/login", "", "/api"),
    ("/api/api/login", "/api", ""),
]


@pytest.mark.parametrize(("path", "root_path", "own"), MOUNTED)
def test_a_pattern_holds_wherever_a_framework_cuts_the_root_path(path: str, root_path: str, own: str) -> None:
    """Litestar and Quart cut the path at the root path wherever it stands; FastAPI may know it by itself."""
    found = find({"POST /login": "login", "/*": "api"}, path, root_path, own)

    assert found == (("api", {}) if path == "/api/api/login" else ("login", {}))


EXEMPT = {"/health": None, "/public/*": None, "/users/{id}": "user"}

#   path                 what it meets
STRICTEST = [
    ("/health", None),
    ("/health/", None),
    ("/public/A", None),
    ("/public/a//b;c", None),
    ("//health", "default"),
    ("/HEALTH", "default"),
    ("/health\n", "default"),
    ("/public/../login", "default"),
    ("/public/../users/7", "user"),
    ("/other//path", "default"),
]


@pytest.mark.parametrize(("path", "expected"), STRICTEST)
def test_a_pattern_without_a_limit_holds_for_all_spellings_or_none(path: str, expected: str | None) -> None:
    """In doubt the stricter rule applies: a path passes uncounted only if its plain spelling passes too."""
    assert find(EXEMPT, path)[0] == expected


@pytest.mark.parametrize("path", ["/users/7", "/users/7\n", "//users/7", "/users/7;x", "/USERS/7"])
def test_a_path_parameter_has_one_spelling(path: str) -> None:
    """A client gets no second counter for itself by another spelling of the parameter that its key is made of."""
    assert find(EXEMPT, path) == ("user", {"id": "7"})


def test_a_parameter_keeps_its_letter_case() -> None:
    """Values of parameters differ by letter case, as in most applications."""
    assert find(EXEMPT, "/users/Ada") == ("user", {"id": "Ada"})


def test_a_path_beside_the_mount_stays_whole() -> None:
    """A path that only begins alike is not cut."""
    assert [path_below(path, "/app") for path in ("/app/x", "/app", "/apple")] == ["/x", "", "/apple"]


@pytest.mark.parametrize(("method", "meant"), [("PSOT", "POST"), ("DELTE", "DELETE"), ("WSS", "WS"), ("GTE", "GET")])
def test_a_misspelled_method_is_told(method: str, meant: str) -> None:
    """A method that resembles a common one is refused: the pattern would match nothing, and leave its route open."""
    with pytest.raises(ConfigurationError) as caught:
        RoutePatterns({f"GET|{method} /login": 1})

    assert caught.value.setting == "routes"
    assert meant in caught.value.remedy


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("post /login", "POST /login"),
        ("Get|put /login", "GET|PUT /login"),
        ("GET,PSOT /login", "GET|POST /login"),
        ("GET POST /login", "GET|POST /login"),
        ("purge /login", "PURGE /login"),
    ],
)
def test_methods_in_another_spelling_are_told(pattern: str, meant: str) -> None:
    """Methods in small letters, or with other marks between them, are refused with the pattern that was meant."""
    with pytest.raises(ConfigurationError) as caught:
        RoutePatterns({pattern: 1})

    assert (caught.value.setting, caught.value.value) == ("routes", pattern)
    assert repr(meant) in caught.value.remedy


@pytest.mark.parametrize("pattern", ["login", "POST login", "", " "])
def test_what_is_no_path_resembles_no_pattern(pattern: str) -> None:
    """A pattern that is wrong otherwise than in its methods gets the general remedy."""
    with pytest.raises(ConfigurationError) as caught:
        RoutePatterns({pattern: 1})

    assert "did you mean" not in caught.value.remedy


@pytest.mark.parametrize(
    "method", ["PURGE", "PROPFIND", "PROPPATCH", "ORDERPATCH", "QUERY", "REPORT", "UPDATE", "SEARCH", "TRACE"]
)
def test_methods_of_applications_are_matched(method: str) -> None:
    """A method that resembles none is taken as written."""
    patterns = RoutePatterns({f"{method} /page": 1})

    assert patterns.find({"type": "http", "method": method, "path": "/page"}) == (1, {})
