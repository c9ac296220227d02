"""One JSON line per request: who, what, how it went, how long it took. Never text of a prompt, never a key.

Probes (liveness, readiness, metrics) are counted in the metrics and leave no line.
"""

import time
from typing import Any

import orjson

from app.telemetry.record import RequestRecord
from contract.log_lines import fields

LOGGER = "portico.access"
# Parameters that name a user; they go into the log and nowhere else.
AUDITED = ("user", "safety_identifier", "metadata")
MAX_TEXT_LENGTH = 512  # of one that is a text; metadata is bounded where it is checked


def line_of(record: RequestRecord) -> bytes:
    tokens = record.tokens()
    line = fields(time.time(), "info", LOGGER, f"{record.route} {record.status} {record.reason}") | {
        "request_id": record.request_id,
        "client_request_id": record.client_request_id,
        "key": record.key_id,
        "team": record.team_id,
        "route": record.route,
        "model": record.model_id,
        "status": record.status,
        "reason": record.reason,
        "stream": record.streamed,
        "duration_ms": _milliseconds(record.total_s),
        "first_byte_ms": _milliseconds(record.first_byte_s),
        "overhead_ms": _milliseconds(record.overhead_s),
        "queue_ms": _milliseconds(record.queue_s),
        "engine_ms": _milliseconds(record.engine_s),
        "prompt_tokens": tokens.get("prompt"),
        "completion_tokens": tokens.get("completion"),
        "adjustments": record.adjustments,
    }
    if record.trace is not None:
        line["trace_id"] = record.trace.hex_id
    if record.accepted:
        line |= {name: _cut(record.accepted[name]) for name in AUDITED if name in record.accepted}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _cut(value: Any) -> Any:
    return value[:MAX_TEXT_LENGTH] if isinstance(value, str) else value


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
