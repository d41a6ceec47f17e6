"""Serving: from a bound socket to requests, in one process or in workers.

`binding` binds the port or takes over a socket, `config` gathers what uvicorn is told, `workers` runs it here or in
processes that end with this one, and `signals` says what stops it. In a worker,
`protocol` reads requests with the rules of `framing` and `expectation`, within `bounds`, and
answers what it does not serve with a `refusal`; `fast_path` answers plain takes below ASGI, `joined_writes` sends a
response in one piece. `sweep` and `deadlines` end the connections whose time is over, and `overload` is for those above
the bound.
"""

from tollhouse.serving.binding import address_of, bind, passed_socket
from tollhouse.serving.config import ServingConfig
from tollhouse.serving.signals import exit_on_signals
from tollhouse.serving.workers import run

__all__ = ["ServingConfig", "address_of", "bind", "exit_on_signals", "passed_socket", "run"]
