"""Models of the settings over HTTP: what their failures, their slowness and their queues come to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from tests import answers
from tests.http.client import SERVICE, SERVICE_KEY, Service, service_at
from tollhouse.settings.ai import AiSettings, ModelSettings

PATIENCE_S = 10
QUESTION = {"input": {"a": [1.0]}}


def model(function: str, **options: Any) -> ModelSettings:
    return ModelSettings(call=f"tests.answers:{function}", version="1", **options)


MODELS = AiSettings(
    models={
        "echo": model("echo"),
        "later": model("later"),
        "fails": model("fail"),
        "slow": model("blocked", timeout_ms=100, threads=1, queued=0),
        "blocked": model("blocked", threads=1, queued=1),
    }
)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    answers.SEEN.clear()
    answers.GATE.clear()
    async with service_at("fake://", ai=MODELS) as service:
        yield service
        answers.GATE.set()


async def ask(service: Service, model: str, value: Any = 1) -> Any:
    return await service.ask("POST", f"/v1/ai/{model}", json={"input": value}, headers=SERVICE)


@pytest.mark.parametrize(("name", "output"), [("echo", {"a": [1]}), ("later", {"later": {"a": [1]}})])
async def test_a_model_of_the_settings_answers(service: Service, name: str, output: Any) -> None:
    """Plain and async functions answer, and their answers are cached."""
    first = await ask(service, name, QUESTION["input"])
    second = await ask(service, name, QUESTION["input"])

    assert first.json() == second.json() == {"model": name, "output": output}
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")


async def test_a_model_that_fails_is_502(service: Service) -> None:
    """The problem says nothing of the cause, which is in the log; nothing is cached."""
    responses = [await ask(service, "fails") for _ in range(2)]

    assert [response.status_code for response in responses] == [502, 502]
    assert responses[0].json()["type"].endswith(":model-failed")
    assert "cannot" not in responses[0].text


async def test_a_model_that_is_too_slow_is_504_and_then_503(service: Service) -> None:
    """After `timeout_ms` the answer is 504; while the call goes on it keeps its place, so the next is 503."""
    slow = await ask(service, "slow")
    full = await ask(service, "slow", 2)
    quick = await ask(service, "echo")

    assert (slow.status_code, full.status_code, quick.status_code) == (504, 503, 200)
    assert slow.json()["type"].endswith(":model-timeout")
    assert full.json()["type"].endswith(":overloaded")
    assert full.headers["retry-after"] == "1"


async def test_a_client_that_hangs_up_leaves_the_queue(service: Service) -> None:
    """Its call never begins, and its place in the queue is another's."""
    first = asyncio.create_task(ask(service, "blocked", "first"))
    async with asyncio.timeout(PATIENCE_S):
        while not answers.SEEN:  # noqa: ASYNC110 - the model runs in a thread
            await asyncio.sleep(0)
        gone = Client(service, "blocked", "gone")
        waiting = asyncio.create_task(gone.request())
        await gone.waits.wait()
        full = await ask(service, "blocked", "refused")

        gone.hang_up()
        status = await waiting
        last = asyncio.create_task(ask(service, "blocked", "last"))
        await asyncio.sleep(0)
        answers.GATE.set()

        assert (full.status_code, status) == (503, 499)
        assert ((await first).status_code, (await last).status_code) == (200, 200)
    assert answers.SEEN == ["first", "last"]


class Client:
    """A client of the service that can hang up."""

    def __init__(self, service: Service, model: str, value: Any) -> None:
        self._app = cast("Any", service.client)._transport.app
        self._path = f"/v1/ai/{model}"
        self._unread = [msgspec.json.encode({"input": value})]
        self._gone = asyncio.Event()
        self.waits = asyncio.Event()
        self.status = 0

    def hang_up(self) -> None:
        self._gone.set()

    async def request(self) -> int:
        await self._app(
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": self._path,
                "raw_path": self._path.encode(),
                "root_path": "",
                "query_string": b"",
                "headers": [(b"content-type", b"application/json"), (b"x-api-key", SERVICE_KEY.encode())],
                "client": ("127.0.0.1", 4711),
                "server": ("app", 80),
            },
            self._receive,
            self._send,
        )
        return self.status

    async def _receive(self) -> Any:
        if self._unread:
            return {"type": "http.request", "body": self._unread.pop(), "more_body": False}
        self.waits.set()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
