"""What Serve's controller knows. Private parts of Serve 2.60; the one file that knows them. Each call blocks."""

from ray.serve.context import _get_global_client

from app.upstream.start import Stage, Start, starts_of
from contract.warm_up import is_warming_up


def http_host() -> str | None:
    """The host on which Serve listens for HTTP, as it was started, whatever a configuration says that came later."""
    host: str | None = _get_global_client().http_config.host
    return host


def starts(app_name: str) -> dict[str, Start]:
    """How far the replicas of an application's deployments are that start now."""
    found = starts_of(_get_global_client().get_serve_details(), app_name)
    return {
        name: start._replace(stage=Stage.WARMING_UP)
        if start.stage is Stage.LOADING and is_warming_up(app_name, name, start.replica_id)
        else start
        for name, start in found.items()
    }


def stages(app_name: str) -> dict[str, Stage]:
    """The stage of each of these starts."""
    return {name: start.stage for name, start in starts(app_name).items()}
