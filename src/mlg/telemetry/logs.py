"""Log lines as JSON objects, one a line, with a trace id and without secrets."""

import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from mlg.core.clock import rfc3339

TRACE_ID: ContextVar[str] = ContextVar("mlg_trace_id", default="")
"""Trace id of what is being handled; 32 hex digits, or empty."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_SECRET_NAME: Final = re.compile(
    r"authori[sz]ation|cookie|credential|passw(or)?d|secret|token|api_?key|private_?key",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(r"(?i)\b(bearer\s+|://[^/\s:@]*:)[^\s@\"']+")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = "0" * 32


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a W3C `traceparent` header; empty when it is not one.

    Examples:
        >>> trace_id_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        '0af7651916cd43dd8448eb211c80319c'
        >>> trace_id_of("nonsense")
        ''
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match and match[1] != _NO_TRACE else ""


def without_secrets(name: str, value: Any) -> Any:
    """Return the value, or asterisks when its name or text is that of a secret.

    Examples:
        >>> without_secrets("api_key", "k1"), without_secrets("rows", 3)
        ('***', 3)
        >>> without_secrets("url", "https://ada:pw@host/x")
        'https://ada:***@host/x'
    """
    if _SECRET_NAME.search(name):
        return "***"
    return _SECRET_TEXT.sub(r"\1***", value) if isinstance(value, str) else value


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: at, level, logger, process, message, extras.

    Args:
        process: The process id of `core/processes.py`, for example `replica-home-1`.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": rfc3339(datetime.fromtimestamp(record.created, tz=UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "message": without_secrets("message", record.getMessage()),
        }
        if trace_id := TRACE_ID.get():
            line["trace_id"] = trace_id
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = without_secrets(name, value)
        if record.exc_info:
            line["exception"] = without_secrets("", self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()


def setup_logs(stream: TextIO, *, process: str, level: int = logging.INFO) -> logging.Handler:
    """Send every logger of this process to the stream as JSON lines; return the handler."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return handler
