"""One JSON line per request: who, what, how it went, how long it took. Never text of a prompt, never a key.

Probes (health, readiness, metrics) are counted in the metrics and leave no line.
"""

import logging
import sys
import time

import orjson

from app.http.reply import Reply

# Parameters that name a user; they go into the log and nowhere else.
AUDITED = ("user", "safety_identifier", "metadata")

logger = logging.getLogger("portico.access")


def configure() -> None:
    """Write the lines to the process's own standard output; Serve may have put its logger in place of sys.stdout."""
    handler = logging.StreamHandler(sys.__stdout__)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def write(reply: Reply) -> None:
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request_id": reply.request_id,
        "key": reply.key_id,
        "route": reply.route,
        "model": reply.model_id,
        "status": reply.status,
        "reason": reply.reason,
        "stream": reply.streamed,
        "duration_ms": _milliseconds(reply.clock.total()),
        "first_byte_ms": _milliseconds(reply.first_byte_s),
        "overhead_ms": _milliseconds(reply.overhead_s),
        "prompt_tokens": reply.tokens().get("prompt"),
        "completion_tokens": reply.tokens().get("completion"),
    }
    line |= {name: reply.accepted[name] for name in AUDITED if name in reply.accepted}
    logger.info(orjson.dumps(line).decode())


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
