"""A small FastAPI application behind limits. Run it in a clone with `uvicorn examples.fastapi_app:app`.

Install what it needs with `pip install . fastapi 'uvicorn[standard]'`.

It needs no server: without TOLLHOUSE_URL an embedded Valkey starts with the first request, and ends with the
application. Several workers need one server for all of them, such as TOLLHOUSE_URL=redis://localhost.
"""

from __future__ import annotations

import os

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket

import tollhouse
from tollhouse.fastapi import RateLimit

app = FastAPI()


@app.get("/")
async def index() -> str:
    """Count against the policy of the site."""
    return "Ask for /report/2026; the third time within a minute is too often."


@app.get("/report/{year}", dependencies=[Depends(RateLimit("2/minute; 20/hour", key="header:x-api-key"))])
async def report(year: int) -> dict[str, int]:
    """Count against limits that are written here, by the caller's API key or else its address."""
    return {"year": year, "pages": await pages(year)}


@tollhouse.limit("1/second burst 10", algorithm="gcra", key=lambda year: f"year {year}", wait_ms=2_000)
async def pages(year: int) -> int:
    """Spare something slow: ten calls at once for one year, then one a second, for which callers wait."""
    return year % 100


@app.post("/login/{account}")
async def login(account: str, request: Request) -> str:
    """Admit clients that say please; the others are counted, by the rule below."""
    if request.headers.get("x-word") != "please":
        raise HTTPException(401)
    return f"welcome, {account}"


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Send every text back; the messages are counted by the rule below."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


@app.get("/health")
async def health() -> str:
    """Count nothing."""
    return "ok"


app.add_middleware(
    tollhouse.RateLimitMiddleware,
    url=os.environ.get("TOLLHOUSE_URL", "embedded://"),
    policies={"site": "100/minute", "login": "3/minute", "messages": "10/minute"},
    policy="site",
    routes={
        "/health": None,
        # An account may be tried three times a minute; a login that succeeds does not count.
        "POST /login/{account}": tollhouse.RateLimitRule(policy="login", key="path:account", charge="4xx"),
        "WS /echo": tollhouse.RateLimitRule(policy="site", messages="messages"),
    },
)
