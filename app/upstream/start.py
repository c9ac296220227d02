"""How far a model's replica is that starts."""

from enum import StrEnum
from typing import Any, NamedTuple


class Stage(StrEnum):
    """What a replica does before it takes requests."""

    QUEUED = "queued"  # it waits for resources, or for its process
    LOADING = "loading"  # its process loads the model
    WARMING_UP = "warming up"  # it answers the first request


class Start(NamedTuple):
    """One start."""

    stage: Stage
    began: float  # Unix seconds
    replica_id: str = ""


def starts_of(details: dict[str, Any], app_name: str) -> dict[str, Start]:
    """The start of each deployment that has one, from Serve's details. Of several replicas the oldest counts.

    Serve does not know where loading ends and warming up begins: see `contract/warm_up.py`.
    """
    deployments = details.get("applications", {}).get(app_name, {}).get("deployments", {})
    found: dict[str, Start] = {}
    for name, deployment in deployments.items():
        starting = [one for one in deployment["replicas"] if one["state"] == "STARTING"]
        if starting:
            oldest = min(starting, key=lambda one: one["start_time_s"])
            stage = Stage.QUEUED if oldest.get("pid") is None else Stage.LOADING
            found[name] = Start(stage, oldest["start_time_s"], oldest["replica_id"])
    return found
