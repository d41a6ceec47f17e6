"""Session events to a webhook, signed and repeated. Run it in a clone with `python -m examples.session_events`.

Install what it needs with `pip install '.[service]' httpx2`.

TOLLHOUSE_EVENTS is the URL of the stream, with `?user=` or `?kind=` if you like, and TOLLHOUSE_ADMIN_KEY a key of the
service. WEBHOOK_URL gets the events in their order, and WEBHOOK_SECRET (`whsec_` and base64) signs them as
https://www.standardwebhooks.com says. EVENTS_POSITION is the file that says how far it came, and EVENTS_FAILED the file
for what was not accepted.

Each event is posted at least once. `webhook-id` is the id of the event: a receiver acts on an id once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

ATTEMPTS = 8
"""How often an event is posted, over about two minutes, before it is given up."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
SILENCE_S = 45.0
"""Three heartbeats: a stream that is silent for longer is broken."""
REMEMBERED = 10_000
"""How many messages are remembered, so that what a stream repeats is not posted again."""
TOLERANCE_S = 300
"""How old a signature may be."""

log = logging.getLogger("session_events")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Message:
    """A message of a stream; without data it only says how far the stream is."""

    id: str
    kind: str
    data: str


class StreamRefused(Exception):
    """The service does not stream to this client, and waiting would not help."""


class WrongVariable(Exception):
    """A variable is not set, or cannot be used."""


async def read_messages(lines: AsyncIterator[str]) -> AsyncIterator[Message]:
    """Take a stream of Server-Sent Events apart; comments are left out."""
    fields = {"id": "", "event": "", "data": ""}
    async for line in lines:
        name, _, value = line.partition(":")
        if name in fields:
            fields[name] = value.removeprefix(" ")
        elif not line and fields["id"]:
            yield Message(fields["id"], fields["event"], fields["data"])
            fields = {"id": "", "event": "", "data": ""}


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a webhook, an HMAC over its id, its time and its body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Return whether a webhook was signed with the secret within the last minutes: what a receiver is to check."""
    timestamp = headers["webhook-timestamp"]
    if not timestamp.isdecimal() or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    wanted = sign(secret, headers["webhook-id"], int(timestamp), body)
    return any(hmac.compare_digest(wanted, given) for given in headers["webhook-signature"].split(" "))


class Webhook:
    """Posts messages to one receiver, one after the other."""

    def __init__(
        self, client: httpx2.AsyncClient, url: str, secret: str, failed: Path, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._client = client
        self._url = url
        self._secret = secret
        self._failed = failed
        self._sleep = sleep
        self._posted: dict[Message, None] = {}

    async def post(self, message: Message) -> None:
        """Post a message until it is accepted; after the last attempt it is kept in a file, and the next follows."""
        if message in self._posted:
            return
        body = json.dumps({"type": f"session.{message.kind}", "data": json.loads(message.data)}).encode()
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_s = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S)
                await self._sleep(random.uniform(pause_s / 2, pause_s))
            if await self._is_accepted(message.id, body):
                break
        else:
            log.error("event %s was not accepted", message.id)
            with self._failed.open("ab") as file:
                file.write(body + b"\n")
        self._posted[message] = None
        if len(self._posted) > REMEMBERED:
            del self._posted[next(iter(self._posted))]

    async def _is_accepted(self, message_id: str, body: bytes) -> bool:
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, message_id, timestamp, body),
        }
        try:
            response = await self._client.post(self._url, content=body, headers=headers)
        except httpx2.TransportError as error:
            log.warning("event %s: %r", message_id, error)
            return False
        if not response.is_success:
            log.warning("event %s: status %d", message_id, response.status_code)
        return response.is_success


async def follow(
    client: httpx2.AsyncClient,
    url: str,
    key: str,
    position: Path,
    post: Callable[[Message], Awaitable[None]],
    *,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Hand over each message of the stream; go on from its position after an interruption, also of this process."""
    while True:
        headers = {"x-api-key": key, **_kept(position)}
        try:
            async with client.stream("GET", url, headers=headers, timeout=SILENCE_S) as response:
                if response.status_code in (400, 401, 403, 404):
                    raise StreamRefused(f"{url}: {response.status_code}: {(await response.aread()).decode()}")
                response.raise_for_status()
                async for message in read_messages(response.aiter_lines()):
                    if message.data:
                        await post(message)
                    _keep(position, message.id)
        except httpx2.HTTPError as error:
            log.warning("the stream broke off: %r", error)
        await sleep(random.uniform(1, 3))


def _kept(position: Path) -> dict[str, str]:
    return {"last-event-id": position.read_text()} if position.exists() else {}


def _keep(position: Path, message_id: str) -> None:
    """Replace the file in one step: it has the old position or the new one, whenever this process ends."""
    new = position.with_suffix(".new")
    new.write_text(message_id)
    new.replace(position)


async def main(variables: Mapping[str, str], *, sleep: Sleep = asyncio.sleep) -> None:
    """Post events until this is cancelled."""
    url = variables.get("TOLLHOUSE_EVENTS", "http://127.0.0.1:8000/v1/admin/events")
    position = Path(variables.get("EVENTS_POSITION", "session-events.position"))
    failed = Path(variables.get("EVENTS_FAILED", "session-events.failed"))
    key, receiver, secret = (
        _required(variables, name) for name in ("TOLLHOUSE_ADMIN_KEY", "WEBHOOK_URL", "WEBHOOK_SECRET")
    )
    try:
        base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise WrongVariable(
            "WEBHOOK_SECRET is no base64: give `whsec_` and what `openssl rand -base64 24` says"
        ) from error
    async with httpx2.AsyncClient() as client:
        webhook = Webhook(client, receiver, secret, failed, sleep=sleep)
        await follow(client, url, key, position, webhook.post, sleep=sleep)


def _required(variables: Mapping[str, str], name: str) -> str:
    if not variables.get(name):
        raise WrongVariable(f"{name} is not set: the first lines of {__file__} say what it is")
    return variables[name]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        asyncio.run(main(os.environ))
    except (WrongVariable, StreamRefused) as refused:
        sys.exit(str(refused))
