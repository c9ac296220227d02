"""What the processes of the service log, and how: from the configuration to Python's loggers.

A replica of Serve calls `begin` once and `follow` at each change; elsewhere, such as in a notebook, both do nothing. An
engine's own process finds its settings in the environment that it has from its replica.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import orjson

from contract.line_writer import write_whole
from contract.log_lines import JsonFormatter, TextFormatter, set_origin
from contract.serve_replica import replica_id

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]

OURS, VLLM = "portico", "vllm"  # loggers, with all below them
AUDIT = "portico.audit"  # its lines are written at any level
# At `debug` these parts of vLLM write prompts and answers, so they stay at `info`.
WITH_TEXTS = ("vllm.entrypoints", "vllm.parser", "vllm.reasoning", "vllm.renderers", "vllm.tool_parsers")
VARIABLE = "PORTICO_LOG"
STANDARD_ERROR = 2


class LogSettings(NamedTuple):
    """Plain data, for a process."""

    format: Format = "json"
    levels: Mapping[str, Level] = {OURS: "info"}  # by logger

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> "LogSettings":
        """Of `_asdict`."""
        return cls(**wire)


DEFAULT = LogSettings()


class StandardError(logging.Handler):
    """Writes to the process's own standard error, whatever has taken the place of `sys.stderr`.

    In production Serve has a logger there, at whose level our lines would be lost.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
            write_whole(STANDARD_ERROR, text.encode(errors="backslashreplace"))
        except Exception:
            self.handleError(record)


def begin(settings: LogSettings, deployment: str) -> None:
    """Have this replica, and the processes of engines that it starts, log so. Each line names the replica."""
    own = replica_id()
    if own is None:
        return
    origin = {"deployment": deployment, "replica": str(own.unique_id)}
    set_origin(**origin)
    os.environ[VARIABLE] = orjson.dumps({"settings": settings._asdict(), "origin": origin}).decode()
    if settings.format == "json":
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars are no lines
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread
    _write_to_standard_error()
    follow(settings)


def begin_actor(component: str) -> None:
    """Have this actor, which is no replica and knows no configuration, write JSON lines that name it."""
    set_origin(component=component)
    _write_to_standard_error()
    follow(DEFAULT)


def follow(settings: LogSettings) -> None:
    """From now on."""
    handler = _own_handler()
    if handler is None:
        return
    formatter = JsonFormatter() if settings.format == "json" else TextFormatter()
    handler.setFormatter(formatter)
    if settings.format == "json":
        for other in _others():
            other.setFormatter(formatter)
    for name, level in settings.levels.items():
        logging.getLogger(name).setLevel(level.upper())
    for name in WITH_TEXTS:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger(VLLM).level))
    logging.getLogger(AUDIT).setLevel(logging.INFO)


def in_engine_process() -> logging.Handler:
    """Called by `logging.config` where deployments/vllm/logging.json names it, in each process of vLLM."""
    found = orjson.loads(os.environ.get(VARIABLE, "{}"))
    set_origin(**found.get("origin", {}))
    handler = _write_to_standard_error()
    follow(LogSettings.of(found.get("settings", {})))
    return handler


def take_over_serve() -> None:
    """Have Serve's own log, where its `logging_config.encoding` is JSON, written in our form. For processes of Serve
    that have no configuration of ours: its proxies and its controller.
    """
    for handler in _writers(logging.getLogger("ray.serve")):
        if type(handler.formatter).__name__ == "JSONFormatter":
            handler.setFormatter(JsonFormatter())


def _own_handler() -> StandardError | None:
    return next((one for one in logging.getLogger().handlers if isinstance(one, StandardError)), None)


def _write_to_standard_error() -> StandardError:
    handler = _own_handler() or StandardError()
    logging.getLogger().addHandler(handler)  # which does nothing where it is there
    return handler


def _others() -> Iterator[logging.Handler]:
    """What writes beside us: Ray, Serve, torch and the like have handlers of their own at their loggers."""
    for logger in list(logging.getLogger().manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from _writers(logger)


def _writers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """The handlers of a logger that write; Serve's buffers hand their records on to another."""
    for handler in logger.handlers:
        yield getattr(handler, "target", None) or handler


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is SystemExit or ended.exc_value is None:
        return
    error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    name = ended.thread.name if ended.thread else "?"
    logging.getLogger("portico.threads").error("the thread %s ended in an exception", name, exc_info=error)
