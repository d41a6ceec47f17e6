"""What the cache saves each route of `examples/playground.py`, over HTTP: S3-23, S4-46, S4-47.

    python -m bench.playground            (or `make bench`)

The example is served as its first line says, on its embedded server. One client asks over one connection, first with
`?use_cache=false`, then for what is cached. Exits with 1 if a ratio or a time is worse than those of the guide.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from statistics import median, quantiles
from typing import Final

import httpx2

from bench.machine import write_result

WITHOUT: Final = 5
WITH: Final = 300
RUNS: Final = {"model_run_ids": ["abc-123", "def-456", "ghi-789"], "metric": "accuracy"}
#        route: method, path, body, least ratio, longest time with the cache in ms
ROUTES: Final = {
    "metrics": ("GET", "train/abc-123/metrics", None, 40, 20),
    "feature importance": ("GET", "train/abc-123/feature-importance?top_n=10", None, 30, 20),
    "comparison": ("POST", "compare", RUNS, 66, 25),
}


def main() -> int:
    """Write the figures beside the other results; return 1 if one is worse than the guide's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])  # not passed on by `--fd`: uvicorn takes such a socket for no TCP
    command = [sys.executable, "-m", "uvicorn", "examples.playground:app", "--port", port, "--log-level", "warning"]
    served = subprocess.Popen(command, env={**os.environ, "TOLLHOUSE_URL": "embedded://"})
    url, transport = f"http://127.0.0.1:{port}/api/v1/models/", httpx2.HTTPTransport(retries=8)
    try:
        with httpx2.Client(base_url=url, timeout=30, transport=transport) as client:
            rows = [measure(client, route) for route in ROUTES]
    finally:
        served.terminate()
        served.wait()
    lines = [
        f"| {one['route']} | {one['without_ms']:.0f} ms | {one['with_ms']:.1f} ms | {one['with_p95_ms']:.1f} ms "
        f"| {one['ratio']:.0f} | {one['ratio_of_the_guide']} |"
        for one in rows
    ]
    head = "| route | without cache | with cache | p95 | ratio | the guide's |\n|---|---:|---:|---:|---:|---:|\n"
    title = "The playground with and without its cache, medians"
    write_result("playground", title, "python -m bench.playground", head + "\n".join(lines), rows)
    return 0 if all(row["holds"] for row in rows) else 1


def measure(client: httpx2.Client, route: str) -> dict[str, object]:
    """Measure one route without the cache, and with it."""
    method, path, body, ratio_min, ms_max = ROUTES[route]
    query = "&" if "?" in path else "?"

    def timed(url: str, source: str) -> float:
        began_s = time.perf_counter()
        response = client.request(method, url, json=body)
        assert response.headers["x-cache"] == source, response.text
        return (time.perf_counter() - began_s) * 1000

    timed(path, "MISS")
    without_ms = median(timed(f"{path}{query}use_cache=false", "BYPASS") for _ in range(WITHOUT))
    times = [timed(path, "HIT") for _ in range(WITH)]
    with_ms = median(times)
    return {
        "route": route,
        "without_ms": without_ms,
        "with_ms": with_ms,
        "with_p95_ms": quantiles(times, n=20)[-1],
        "ratio": without_ms / with_ms,
        "ratio_of_the_guide": ratio_min,
        "holds": without_ms / with_ms >= ratio_min and with_ms <= ms_max,
    }


if __name__ == "__main__":
    sys.exit(main())
