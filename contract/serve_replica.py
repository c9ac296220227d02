"""Whether this process is a replica of Serve, and which one. Engines run without Serve and without Ray, too."""

import sys
from typing import Any


def replica_id() -> Any | None:
    """Serve's name of this process' replica; None where it is none."""
    serve = sys.modules.get("ray.serve")
    if serve is None:
        return None
    try:
        return serve.get_replica_context().replica_id
    except Exception:  # of Serve's own class: it is imported, and this is no replica of it
        return None
