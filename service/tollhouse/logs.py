"""Logging: JSON for machines, text on a terminal, with secrets redacted.

An event is a constant string with fields. `Log` puts the fields into the text of the message too, for an application
that formats logs by itself. No caller logs a secret; redacting every line is the second line of defence, against what
other libraries put into messages and tracebacks.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

import msgspec

LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

HIDDEN: Final = "***"
"""Replaces a secret."""

_OWN_LOGGERS = ("tollhouse", "uvicorn")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_NO_FIELDS = frozenset({"timestamp", "level", "logger", "message", "event", "exception"})
_SENSITIVE = re.compile(r"authorization|cookie|password|secret|token|ticket|api[_-]?key", re.IGNORECASE)
_SECRETS = (
    (re.compile(r"\b([vt]1)\.[0-9a-f]{8}\.[0-9a-f]+\.[\w.-]+"), rf"\1.{HIDDEN}"),
    (re.compile(r"((?i:authorization|cookie|x-api-key)['\"]?\s?[:=,]\s?(?:b?['\"])?)[^'\"\r\n]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic) [\w.~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(r"([?&][\w-]{0,40}(?:password|secret|token|ticket)[\w-]{0,40}=)[^&\s'\"]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(://[^\s:@/]{0,256}:)\S{1,4096}@"), rf"\1{HIDDEN}@"),
)

Event = Mapping[str, Any]


class Log:
    """Logs the events of one logger of the standard library; each method is that of `logging.Logger`.

    The message is the event and its fields, and both are attributes of the record as well: the event as `event`.
    Secrets in fields are replaced before any handler of the application gets them.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    @property
    def has_debug(self) -> bool:
        """Whether `debug` logs anything; if not, its fields need not be made."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def debug(self, event: str, *, extra: Event | None = None) -> None:
        """Log an event for who looks for a defect."""
        self._write(logging.DEBUG, event, extra or {})

    def info(self, event: str, *, extra: Event | None = None) -> None:
        """Log an event that needs no action."""
        self._write(logging.INFO, event, extra or {})

    def warning(self, event: str, *, extra: Event | None = None) -> None:
        """Log an event that costs something."""
        self._write(logging.WARNING, event, extra or {})

    def error(self, event: str, *, extra: Event | None = None, exc_info: BaseException | None = None) -> None:
        """Log an event that needs an action."""
        self._write(logging.ERROR, event, extra or {}, exc_info)

    def log(self, level: int, event: str, *, extra: Event | None = None) -> None:
        """Log an event at a level."""
        self._write(level, event, extra or {})

    def _write(self, level: int, event: str, extra: Event, exc_info: BaseException | None = None) -> None:
        if not self._logger.isEnabledFor(level):
            return
        fields = {name: _field(name, value) for name, value in extra.items()}
        # The template is constant: services that collect errors group by it.
        template = event.replace("%", "%%") + "".join(f" {name}=%({name})s" for name in fields)
        facts = {"event": event, **{name: _shown(value) for name, value in fields.items()}}
        self._logger.log(level, template, facts, exc_info=exc_info, extra={**fields, "event": event}, stacklevel=3)


def configure(
    level: LogLevel = "info",
    log_format: LogFormat = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send the logs of the process to `stream` (stderr); calling this again replaces the handler.

    Uvicorn's access log is off: its lines contain query strings, and the metrics count decisions already.
    """
    target: TextIO = sys.stderr if stream is None else stream
    as_text = target.isatty() if log_format == "auto" else log_format == "text"
    handler = logging.StreamHandler(target)
    handler.setFormatter(Formatter(_as_text if as_text else _as_json))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, Formatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True


def log_everything(name: str) -> None:
    """Log every event of a logger, whatever the levels of those above it are."""
    logging.getLogger(name).setLevel(logging.DEBUG)


@contextmanager
def muted() -> Generator[None]:
    """Log nothing of ours meanwhile, for a check whose result is reported by itself."""
    logger = logging.getLogger(_OWN_LOGGERS[0])
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def redact(text: str) -> str:
    """Replace tokens, credentials in headers and passwords in URLs by `***`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class Formatter(logging.Formatter):
    """Converts a record to an event without secrets, and renders the event as a line."""

    def __init__(self, render: Callable[[Event], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Render the standard fields first, then the fields of the caller."""
        event: dict[str, Any] = {
            "timestamp": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _clean(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                event.setdefault(name, _field(name, value))
        if record.exc_info:
            event["exception"] = _clean(self.formatException(record.exc_info))
        return self._render(event)


def _as_json(event: Event) -> str:
    return msgspec.json.encode(event).decode()


def _as_text(event: Event) -> str:
    """Render the fields once: behind the event if the message has them too."""
    exception = event.get("exception")
    fields = [f"{name}={_shown(value)}" for name, value in event.items() if name not in _NO_FIELDS]
    clock, what = event["timestamp"][11:23], event.get("event", event["message"])
    line = " ".join([clock, event["level"].upper().ljust(7), event["logger"], what, *fields])
    return line if exception is None else f"{line}\n{exception}"


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _field(name: str, value: object) -> Any:
    """Redact a value whose name suggests a secret, unless it is a number: `tokens=15` is a count."""
    number = value is None or isinstance(value, bool | int | float)
    return HIDDEN if _SENSITIVE.search(name) and not number else _safe(value)


def _safe(value: object) -> Any:
    """Convert a value to what JSON can represent, with secrets redacted at every depth."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        return {str(name): _field(str(name), item) for name, item in fields.items()}
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if len(items) == 2 and isinstance(items[0], str | bytes):
            return [_safe(items[0]), _field(str(items[0]), items[1])]
        return [_safe(item) for item in items]
    return _clean(value if isinstance(value, str) else repr(value))


def _clean(text: str) -> str:
    """Redact, and replace lone surrogates, which neither JSON nor a stream can encode."""
    return redact(text).encode("utf-8", "backslashreplace").decode()
