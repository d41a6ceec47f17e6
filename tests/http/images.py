"""The example of images in this process: the application, its database and a client."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.images import app

CAT = {"filename": "cat.png", "content_type": "image/png", "size": 1_024}


class Images:
    """A client of the application, and what is behind it."""

    def __init__(self, client: httpx2.AsyncClient, database: Path) -> None:
        self.client = client
        self._database = database

    async def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return await self.client.request(method, path, json=body)

    async def upload(self) -> str:
        """Upload an image; return its path."""
        response = await self.ask("POST", "/api/v1/images", CAT)
        assert response.status_code == 201, response.text
        return f"/api/v1/images/{response.json()['id']}"

    async def read(self, path: str) -> tuple[str, int]:
        """Read an image; return the source and the size."""
        response = await self.ask("GET", path)
        assert response.status_code == 200, response.text
        return response.headers["x-cache"], response.json()["size"]

    def execute(self, statement: str) -> list[Any]:
        """Run a statement beside the application, which learns nothing of it."""
        with closing(sqlite3.connect(self._database)) as connection, connection:
            return connection.execute(statement).fetchall()

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Move the database away, so that every query fails."""
        away = self._database.with_suffix(".away")
        self._database.rename(away)
        try:
            yield
        finally:
            away.replace(self._database)


@asynccontextmanager
async def images_at(url: str, folder: Path, **variables: str) -> AsyncIterator[Images]:
    """Run the application with its variables, on a server and on a database in a folder."""
    database = folder / "images.db"
    given = {"TOLLHOUSE_URL": url, "IMAGES_DB": str(database), **variables}
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith(("REDIS_", "CACHE_", "TOLLHOUSE_CACHE_"))]:
            patched.delenv(name)
        for name, value in given.items():
            patched.setenv(name, value)
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://images") as client,
        ):
            yield Images(client, database)
