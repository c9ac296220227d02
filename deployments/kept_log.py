"""Keeps Serve's own log of a replica through the imports of an engine.

`logging.config.dictConfig`, which vLLM calls as it is imported, closes all handlers that there are, and one that
buffers forgets then where it writes. Serve asks each replica for the file, also when its controller has restarted: one
that does not know it any more is replaced.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

LOGGER = "ray.serve"


@contextmanager
def serve_log_kept() -> Iterator[None]:
    """Whatever closes handlers meanwhile, those of Serve write in the end where they did before."""
    buffers = [(one, one.target) for one in logging.getLogger(LOGGER).handlers if isinstance(one, MemoryHandler)]
    try:
        yield
    finally:
        for buffer, target in buffers:
            buffer.setTarget(target)
