"""The form of a line in any log of ours: gateway, replicas, engines and Serve write the same fields.

Always there: `time` (UTC, RFC 3339, in milliseconds), `level`, `logger`, `message`, `node`. Where they are known:
`deployment` and `replica` of the process, `component` of one of Serve's own, `request_id`, `exc_info` (a traceback, as
one text). What else a line has stands beside these, such as a request's status and tokens.
"""

import json
import logging
import os
import time
import traceback
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import orjson

# The id of the request that the code which runs now works for.
current_request: ContextVar[str | None] = ContextVar("current_request", default=None)

_origin: dict[str, str] = {"node": os.uname().nodename}


def set_origin(**origin: str) -> None:
    """What every line of this process is to say of it from now on: `deployment`, `replica`."""
    _origin.update(origin)


def fields(seconds: float, level: str, logger: str, message: str) -> dict[str, Any]:
    """What every line begins with; `seconds` is a Unix time."""
    return {"time": moment(seconds), "level": level, "logger": logger, "message": message, **_origin}


def moment(seconds: float) -> str:
    """A Unix time as the lines have it: `2027-01-31T18:00:00.123Z`."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03}Z"


@lru_cache(4)  # many lines are of one second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def request_of(record: logging.LogRecord) -> str | None:
    """The id of the request that a record is of. Serve gives its own records one; it is the same at the gateway."""
    return current_request.get() or getattr(record, "request_id", None)


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802
        """By no `print`: Serve replaces it in its processes by one that would write each line as a tuple."""
        return "".join(traceback.format_exception(*ei)).rstrip("\n")


class JsonFormatter(_Formatter):
    """One JSON object a line. `extra={"fields": {...}}` at the call puts more beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line = fields(record.created, record.levelname.lower(), record.name, record.getMessage())
        if component := getattr(record, "component_name", None):  # Serve's proxies and its controller
            line["component"] = component
        if request_id := request_of(record):
            line["request_id"] = request_id
        if trace := self._trace(record):
            line["exc_info"] = trace
        return _dumped(line | getattr(record, "fields", {}))

    def _trace(self, record: logging.LogRecord) -> str:
        error = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return "\n".join(filter(None, [error, record.stack_info]))


class TextFormatter(_Formatter):
    """For people at a terminal: the same in words, and a traceback below its line."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return moment(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        request_id = request_of(record)
        about = f" [{request_id}]" if request_id else ""
        return f"{self.formatTime(record)} {record.levelname} {record.name}{about} {record.message}"

    def usesTime(self) -> bool:  # noqa: N802
        return False


def _dumped(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a name of a file, say, that is not UTF-8
        return json.dumps(line, default=str)
