"""The configuration of uvicorn, for this process or its workers: what is served, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import uvicorn

from tollhouse.serving.bounds import http_bounds
from tollhouse.serving.protocol import BoundedHttp
from tollhouse.serving.sweep import Sweep
from tollhouse.settings import Settings

GRACE_S: Final = 3
"""How long open requests may take once a worker is told to stop."""


class ServingConfig(uvicorn.Config):
    """Uvicorn's configuration, with the bounds that its protocol lacks; workers get a copy of it through a pipe.

    `create_app` makes the application in each worker. It is pickled, so it may carry secrets to workers, whose
    environment and command line other processes can read.
    """

    def __init__(self, create_app: Callable[[], Any], settings: Settings) -> None:
        bounds = http_bounds(settings)
        timeouts = bounds.timeouts
        sweep = Sweep(min(timeouts.head_ms, timeouts.body_ms, timeouts.idle_ms))
        super().__init__(
            create_app,
            factory=True,
            http=cast("Any", partial(BoundedHttp, bounds, sweep)),  # uvicorn only calls it, and types it as a class
            ws="none",
            lifespan="on",
            workers=settings.workers,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
