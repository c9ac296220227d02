"""What Serve's controller knows. Private parts of Serve 2.60; the one file that knows them. Each call blocks."""

from ray.serve.context import _get_global_client

from app.upstream.start import Start, starts_of


def http_host() -> str | None:
    """The host on which Serve listens for HTTP, as it was started, whatever a configuration says that came later."""
    host: str | None = _get_global_client().http_config.host
    return host


def starts(app_name: str) -> dict[str, Start]:
    """How far the replicas of an application's deployments are that start now."""
    return starts_of(_get_global_client().get_serve_details(), app_name)
