"""Ray's and Serve's failures before an answer's first byte, as the rest of the gateway knows them."""

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from contract.errors import ApiError, upstream_error


class ReplicaLost(Exception):
    """The replica died, or became unreachable, before its first byte."""


def failure_of(error: Exception) -> ApiError | ReplicaLost:
    """What `error`, which a handle's call raised, means."""
    if isinstance(error, BackPressureError):
        return ApiError("overloaded", "Every replica of this model is busy and its queue is full.")
    return ReplicaLost() if isinstance(error, RayActorError) else upstream_error()
