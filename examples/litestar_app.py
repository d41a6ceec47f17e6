"""A small Litestar application behind limits. Run it in a clone with `uvicorn examples.litestar_app:app`.

Install what it needs with `pip install '.[service]'`.

It needs no server: an embedded Valkey starts with the first request and ends with the application.
"""

from __future__ import annotations

import asyncio

from litestar import Litestar, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from tollhouse.litestar import Cache, TollhousePlugin


@get("/")
async def index() -> str:
    """Count against the application's policy."""
    return "Ask for /forecast/Oslo; the third time within a minute is too often."


@get("/forecast/{city:str}", opt={"rate_limit": "forecast"})
async def forecast(city: FromPath[str], cache: NamedDependency[Cache]) -> dict[str, str]:
    """Count against a policy of its own, and do the slow work once in an hour for each city."""

    async def ask_the_sky() -> dict[str, str]:
        await asyncio.sleep(0.2)
        return {"city": city, "forecast": "sun"}

    return await cache.get_or_load(f"forecast:{city}", ask_the_sky, ttl_s=3600, tags=["forecast"])


@get("/health", opt={"rate_limit": False})
async def health() -> str:
    """Count nothing."""
    return "ok"


app = Litestar(
    [index, forecast, health],
    plugins=[TollhousePlugin("embedded://", policies={"site": "100/minute", "forecast": "2/minute"}, policy="site")],
)
