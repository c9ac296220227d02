"""The host on which Serve listens for HTTP. Private parts of Serve 2.60; the one file that knows them."""

from ray.serve.context import _get_global_client


def http_host() -> str | None:
    """As Serve's controller was started, whatever a configuration says that came later. Blocks."""
    host: str | None = _get_global_client().http_config.host
    return host
