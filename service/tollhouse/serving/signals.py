"""Signals: SIGTERM and SIGINT stop the service with exit code 0 at any time of its life, SIGHUP is for its settings.

A terminal sends SIGINT and SIGHUP to all processes that it runs. Workers must not stop by themselves, and one that
still imports would print a traceback. So the process that starts them blocks both signals, which stay blocked in every
process that it starts, and passes on what workers need.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


def exit_on_signals() -> None:
    """Make SIGTERM and SIGINT end this process with exit code 0 when it has cleaned up; hold SIGHUP back.

    For the time in which nothing is served yet; later handlers take their place.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for number in _STOPS:
        signal.signal(number, _exit)


def stop_on_signals(server: uvicorn.Server) -> None:
    """Make SIGTERM and SIGINT stop the server, also one that does not run yet; a second signal changes nothing."""

    def stop(sig: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the names of uvicorn
        server.should_exit = True

    server.handle_exit = stop  # uvicorn's own raises the signal again when the server has stopped
    for number in _STOPS:
        signal.signal(number, stop)


def stop_workers_on_signals(supervisor: Multiprocess) -> None:
    """Make SIGINT, and SIGHUP of a terminal that is gone, stop all workers; pass any other SIGHUP on to them.

    SIGTERM is handled by the supervisor.
    """
    signals = {signal.SIGINT, signal.SIGHUP}
    resource_tracker.ensure_running()  # unblocks SIGINT when it starts, which the first worker would do
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    is_hangup_of_terminal = _terminal()

    def wait() -> None:
        while signal.sigwait(signals) == signal.SIGHUP and not is_hangup_of_terminal():
            for process in tuple(supervisor.processes):
                with suppress(ProcessLookupError):
                    os.kill(process.pid or 0, signal.SIGHUP)
        supervisor.should_exit.set()

    threading.Thread(target=wait, name="tollhouse-signals", daemon=True).start()


def answer_hangups(check_settings: Callable[[], None]) -> None:
    """Make SIGHUP call `check_settings` in the event loop that runs; stop if the terminal of this process is gone.

    A SIGHUP that was held back arrives now. Does nothing outside of the main thread, which alone handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    is_hangup_of_terminal = _terminal()

    def answer() -> None:
        if is_hangup_of_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            check_settings()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, answer)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _exit(_number: int, _frame: FrameType | None) -> None:
    for number in _STOPS:
        signal.signal(number, lambda _number, _frame: None)  # cleaning up is not interrupted
    raise SystemExit(0)


def _terminal() -> Callable[[], bool]:
    """Return a function that says whether the terminal that is standard input now is gone."""
    was_terminal = os.isatty(0)
    return lambda: was_terminal and not os.isatty(0)
