"""The replica that this process is. Private parts of Ray and Serve 2.60; the one file that knows them."""

from typing import Any

from ray._private.worker import global_worker


def is_stopping() -> bool:
    """Whether Serve has told it to finish what it has, and end."""
    actors: dict[Any, Any] = global_worker.actors
    return any(getattr(getattr(one, "_replica_impl", None), "_shutting_down", False) for one in actors.values())
