"""The service under generated requests: no 500 and no hang on any route, whatever a client sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Sequence
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fuzz import hostile
from tests.fuzz.harness import App, Headers, Request, Target, examples
from tests.http.client import ADMIN_KEY, SERVICE_KEY, served_app, settings_at
from tests.http.limited import POLICIES
from tollhouse import wiring
from tollhouse.ai.models import Model, Models
from tollhouse.settings.model import LimitSettings, PolicySettings

OPEN: Final = PolicySettings(limit="1000000/minute")
ALL: Final = {**POLICIES, "ai": OPEN, "session": OPEN, "wrong-key": OPEN}
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get")
SESSION: Final = b"@session"
"""Stands for the token of a live session."""
WAITS_MS: Final = (0, 1, 5, -1, 60_001, 10**9, True, "5", 1.5, None)
"""Waits that end at once, or are refused."""

Operation = tuple[str, str, tuple[str, ...]]


class Service(Target):
    """The application as it is served, on a fake store, with a user whose sessions never run out."""

    def __init__(self, runner: asyncio.Runner) -> None:
        settings = settings_at(
            "fake://fuzz", limits=LimitSettings(policies=ALL), trusted_proxies=("192.0.2.0/24", "10.0.0.0/8")
        )
        models = [
            Model(name="echo", version="1", call=lambda value: value),
            Model(name="broken", version="1", call=len),
        ]
        self.tollhouse = wiring.open(settings, models=Models(models))
        super().__init__(cast("App", served_app(self.tollhouse)[1]), runner)
        self._runner = runner
        self.operations = self._operations()

    def _operations(self) -> list[Operation]:
        """Return method, path and members of the body of every route in the schema."""
        schema = json.loads(self.send(Request(method="GET", path="/schema")).body)
        components = schema["components"]["schemas"]
        return [
            ("GET", "/schema", ()),
            ("GET", "/schema/openapi.json", ()),
            *(
                (method.upper(), path, _members(operation, components))
                for path, methods in schema["paths"].items()
                for method, operation in methods.items()
            ),
        ]

    def token(self) -> bytes:
        """Return the token of a new session."""
        issued = self._runner.run(self.tollhouse.sessions.create("ada"))
        return issued.token.reveal().encode()


def _members(operation: Any, components: Any) -> tuple[str, ...]:
    content = operation.get("requestBody", {}).get("content", {})
    names: set[str] = set()
    for media in content.values():
        schema = media["schema"]
        for named in (schema, schema.get("items", {}), *schema.get("allOf", [])):
            component = components.get(named.get("$ref", "").rpartition("/")[2], {})
            names |= set(component.get("properties", {}))
    return tuple(sorted(names))


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    with asyncio.Runner() as runner:
        service = Service(runner)
        yield service
        service.close()
        runner.run(service.tollhouse.aclose())


_BASE64URL: Final = st.sampled_from(["AAAA", "", "A", "AB", "AA=="]) | hostile.TEXTS
_ANSWERS: Final = st.fixed_dictionaries(
    {
        "id": _BASE64URL,
        "rawId": _BASE64URL,
        "type": st.just("public-key") | hostile.TEXTS,
        "response": st.dictionaries(
            st.sampled_from(
                ["clientDataJSON", "authenticatorData", "signature", "userHandle", "attestationObject", "transports"]
            ),
            _BASE64URL | hostile.VALUES,
        ),
    }
)
"""Answers of passkeys, as browsers have them and otherwise."""
MEMBERS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "policy": st.sampled_from(sorted(ALL)) | hostile.TEXTS,
    "key": st.sampled_from(["ada", "root", "mallory"]) | hostile.TEXTS,
    "cost": st.sampled_from([None, *hostile.UNITS]) | hostile.NUMBERS,
    "wait_ms": st.sampled_from(WAITS_MS),
    "id": st.sampled_from(["0" * 32, "local-" + "0" * 32]) | hostile.TEXTS,
    "user": st.sampled_from(["ada", "Ada", "bob"]) | hostile.TEXTS,
    "password": hostile.TEXTS,
    "transport": st.sampled_from(["cookie", "bearer", "smoke", 1]),
    "hold_ms": hostile.NUMBERS,
    "input": hostile.VALUES,
    "credential": _ANSWERS | hostile.VALUES,
}


@st.composite
def _members_of(draw: st.DrawFn, names: tuple[str, ...]) -> dict[str, Any]:
    """Draw a body of the right shape, of which one member may be wrong, missing or unknown."""
    body: dict[str, Any] = {name: draw(MEMBERS.get(name, hostile.NUMBERS)) for name in names if name != "takes"}
    if "takes" in names:
        body["takes"] = draw(st.lists(_members_of(("policy", "key", "cost")), max_size=4))
    match draw(st.sampled_from(["as it is", "as it is", "wrong", "missing", "unknown"])):
        case "wrong" if names:
            name = draw(st.sampled_from(names))
            body[name] = draw(st.sampled_from(WAITS_MS) if name == "wait_ms" else hostile.VALUES)
        case "missing" if names:
            body.pop(draw(st.sampled_from(names)), None)
        case "unknown":
            body[draw(hostile.TEXTS)] = draw(hostile.VALUES)
        case _:
            pass
    return body


@st.composite
def _bodies(draw: st.DrawFn, names: tuple[str, ...], path: str) -> bytes:
    if draw(st.integers(0, 3)) == 0:
        return draw(hostile.BODIES)
    fields = names or ("input",)
    if path.endswith("take-batch"):
        return hostile.json_text(draw(st.lists(_members_of(fields), max_size=5)))
    return hostile.json_text(draw(_members_of(fields)))


SERVICE_KEYS: Final = (
    ((b"x-api-key", SERVICE_KEY.encode()),),
    ((b"authorization", b"Bearer " + SERVICE_KEY.encode()),),
)
ADMIN_KEYS: Final = (((b"authorization", b"Bearer " + ADMIN_KEY.encode()),),)
SESSIONS: Final = (((b"authorization", b"Bearer " + SESSION),), ((b"cookie", b"tollhouse-dev=" + SESSION),))
CREDENTIALS: Final = (
    *SERVICE_KEYS,
    *ADMIN_KEYS,
    *SESSIONS,
    (),
    ((b"cookie", b"tollhouse-dev=" + SESSION), (b"authorization", b"Bearer " + SESSION)),
    ((b"cookie", b"tollhouse-dev=" + SESSION), (b"authorization", b"Bearer v1.x")),
)
PEERS: Final = st.sampled_from(["192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "", "testclient"])


def _credentials(path: str) -> Sequence[Headers]:
    """Return the credentials that the route accepts."""
    if path.startswith(("/v1/session", "/v1/account/", "/v1/logout")):
        return SESSIONS
    return ADMIN_KEYS if path.startswith("/v1/cache") else SERVICE_KEYS


@st.composite
def requests(draw: st.DrawFn, operations: list[Operation]) -> Request:
    """Draw a request to a route of the schema; one in eight goes to another path or uses another method."""
    method, path, names = draw(st.sampled_from(operations))
    path = path.replace("{model}", draw(st.sampled_from(["echo", "broken"]) | hostile.PATH_PARTS))
    path = path.replace("{sid}", draw(st.just("a" * 26) | hostile.PATH_PARTS))
    path = path.replace("{passkey_id}", draw(st.just("AAAA") | hostile.PATH_PARTS))
    odd = draw(st.integers(0, 15))
    method = draw(st.sampled_from(METHODS)) if odd == 0 else method
    path = path + draw(hostile.PATH_PARTS) if odd == 1 else path
    path = "/" + draw(hostile.PATH_PARTS) + path if odd == 2 else path
    body = draw(_bodies(names, path)) if method not in ("GET", "HEAD") or odd == 3 else b""
    cut = draw(st.integers(0, len(body)))
    chunks = (body,) if odd < 12 else (body[:cut], b"", body[cut:])
    headers = [(b"host", b"testserver"), *draw(st.sampled_from(_credentials(path) if odd < 13 else CREDENTIALS))]
    headers += draw(hostile.HEADERS) if odd > 7 else []
    if body and odd != 4:
        headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)) if len(chunks) == 1 else (b"transfer-encoding", b"chunked"))
    query = draw(hostile.QUERIES) if odd in (5, 6, 7) else b""
    return Request(
        method=method, path=path, query=query, headers=tuple(headers), chunks=chunks, peer=draw(PEERS), wait_ms=5
    )


def _with_session(request: Request, token: bytes) -> Request:
    headers = tuple((name, value.replace(SESSION, token)) for name, value in request.headers)
    return replace(request, headers=headers)


def _of_stranger(request: Request) -> Request:
    headers = tuple(
        header for header in request.headers if header[0] not in (b"authorization", b"x-api-key", b"cookie")
    )
    return replace(request, headers=headers)


def test_no_request_makes_the_service_fail(service: Service) -> None:
    """Every request to every route is answered within its time and without a 500, to a caller and to a stranger."""

    @examples(0.6 / 2)
    @given(requests(service.operations))
    def answers(request: Request) -> None:
        uses_session = any(SESSION in value for _, value in request.headers)
        service.send(_with_session(request, service.token()) if uses_session else request)
        service.send(_of_stranger(request))

    answers()
    service.report("service")


HOST: Final = (b"host", b"testserver")
JSON: Final = (b"content-type", b"application/json")
LOGIN: Final = b'{"user":"ada","password":"a wrong password"}'
FOUND: Final = {
    "a query that is no text": Request(method="GET", path="/nowhere", query=b"\x80", headers=(HOST,)),
    "an address without an address": Request(
        method="POST", path="/v1/login", headers=(HOST, JSON, (b"x-forwarded-for", b"[]")), chunks=(LOGIN,)
    ),
    "an origin that is none": Request(
        method="POST", path="/v1/login", headers=(HOST, JSON, (b"origin", b"http://[")), chunks=(LOGIN,)
    ),
    "nested arrays": Request(method="POST", path="/v1/login", headers=(HOST, JSON), chunks=(b"[" * 2_000,)),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_mended(service: Service, name: str) -> None:
    """A request that once was a 500 is answered as the client's mistake."""
    assert 400 <= service.send(FOUND[name]).status < 500


def test_a_stream_is_an_answer(service: Service) -> None:
    """The generator may open the stream of events, and leaves it after its head."""
    credentials = (b"authorization", b"Bearer " + ADMIN_KEY.encode())

    answer = service.send(Request(method="GET", path="/v1/admin/events", headers=(HOST, credentials)))

    assert answer.status == 200


def test_the_schema_names_the_routes(service: Service) -> None:
    """The generator knows every route and the members of its body: else it would test nothing."""
    paths = {path for _, path, _ in service.operations}
    members = {path: names for _, path, names in service.operations}

    assert {"/v1/login", "/v1/limits/take", "/v1/limits/take-batch", "/v1/ai/{model}", "/v1/cache"} <= paths
    assert members["/v1/limits/take"] == members["/v1/limits/take-batch"] == ("cost", "key", "policy")
