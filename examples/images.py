"""Metadata of images: rows of SQLite, cached by id. Run it in a clone with `uvicorn examples.images:app`.

Install what it needs with `pip install . fastapi 'uvicorn[standard]'`.

IMAGES_DB is the file of the database. REDIS_HOST, REDIS_PORT, REDIS_PASSWORD and REDIS_DB name the server of the cache,
and CACHE_ENABLED, CACHE_TTL_SECONDS, CACHE_KEY_PREFIX and CACHE_DEBUG are its settings. It needs no server: without one
an embedded Valkey starts, and ends with the application.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import Field

import tollhouse

Text = Annotated[str, Field(min_length=1, max_length=255)]
Size = Annotated[int, Field(ge=0, lt=2**63)]

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("images")
sqlite3.register_adapter(UUID, str)


@dataclass
class Metadata:
    filename: Text
    content_type: Text
    size: Size


@dataclass
class Changes:
    """What stays None stays as it is."""

    filename: Text | None = None
    content_type: Text | None = None
    size: Size | None = None


@dataclass
class Image(Metadata):
    id: UUID


class Images:
    """The table `images`, each row cached under `image:{id}` until it is changed or removed."""

    def __init__(self, path: str, cache: tollhouse.Cache) -> None:
        self._path = path
        self._cache = cache

    async def get_by_id(self, image_id: UUID) -> tollhouse.CacheResult[Image]:
        """Return the cached row, or that of the database, which is asked once for all who wait; else raise 404."""

        async def load() -> Image:
            return await self._row("SELECT * FROM images WHERE id = :id", id=image_id)

        return await self._cache.fetch(f"image:{image_id}", load, type=Image)

    async def add(self, new: Metadata) -> Image:
        insert = "INSERT INTO images (id, filename, content_type, size) VALUES (:id, :filename, :content_type, :size)"
        return await self._changed(uuid4(), f"{insert} RETURNING *", **asdict(new))

    async def change(self, image_id: UUID, changes: Changes) -> Image:
        columns = ", ".join(f"{name} = coalesce(:{name}, {name})" for name in asdict(changes))
        update = f"UPDATE images SET {columns} WHERE id = :id RETURNING *"
        return await self._changed(image_id, update, **asdict(changes))

    async def remove(self, image_id: UUID) -> None:
        await self._changed(image_id, "DELETE FROM images WHERE id = :id RETURNING *")

    async def create_table(self) -> None:
        columns = "id TEXT PRIMARY KEY, filename TEXT NOT NULL, content_type TEXT NOT NULL, size INTEGER NOT NULL"
        await asyncio.to_thread(self._execute, f"CREATE TABLE IF NOT EXISTS images ({columns})")

    async def _changed(self, image_id: UUID, statement: str, **values: object) -> Image:
        """Change a row, and invalidate it after the commit: what is read from then on is the new row.

        A read that began before is not cached. While Redis is down the invalidation is remembered.
        """
        async with self._cache.after_commit() as pending:
            pending.keys(f"image:{image_id}")
            return await self._row(statement, id=image_id, **values)

    async def _row(self, statement: str, **values: object) -> Image:
        rows = await asyncio.to_thread(self._execute, statement, values)
        if not rows:
            raise HTTPException(404, "no such image")
        columns: dict[str, Any] = {**rows[0], "id": UUID(rows[0]["id"])}
        return Image(**columns)

    def _execute(self, statement: str, values: dict[str, object] | None = None) -> list[sqlite3.Row]:
        """Run a statement and commit; it blocks, so it belongs in a thread."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(statement, values or {}).fetchall()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with tollhouse.open() as th:
        app.state.tollhouse = th
        app.state.images = Images(os.environ.get("IMAGES_DB", "images.db"), th.cache)
        await app.state.images.create_table()
        log.info("Redis cache %s", await th.connection("cache"))
        yield


def images_of(request: Request) -> Images:
    images: Images = request.app.state.images
    return images


app = FastAPI(lifespan=lifespan)
Table = Annotated[Images, Depends(images_of)]


@app.post("/api/v1/images", status_code=201)
async def upload(new: Metadata, images: Table) -> Image:
    return await images.add(new)


@app.get("/api/v1/images/{image_id}")
async def image(image_id: UUID, images: Table, response: Response) -> Image:
    """Return the row; `X-Cache` says HIT, MISS, DISABLED, or BYPASS while Redis is down."""
    found = await images.get_by_id(image_id)
    response.headers.update(tollhouse.cache_headers(found))
    return found.value


@app.patch("/api/v1/images/{image_id}")
async def change(image_id: UUID, changes: Changes, images: Table) -> Image:
    return await images.change(image_id, changes)


@app.delete("/api/v1/images/{image_id}", status_code=204)
async def remove(image_id: UUID, images: Table) -> None:
    await images.remove(image_id)


@app.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Return whether the cache is `connected` or `disconnected`; the application works in both cases."""
    return {"status": "ok", "cache": await request.app.state.tollhouse.connection("cache")}
