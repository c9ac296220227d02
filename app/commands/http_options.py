"""Where a config file has Serve listen, and Serve's own defaults for that."""

from collections.abc import Mapping
from typing import Any

DEFAULT_HOST, DEFAULT_PORT = "0.0.0.0", 8000  # noqa: S104 - Serve's, where a config file names none


def http_options(content: Any) -> Mapping[str, Any]:
    """Those of a file's content; none where it has none, or what is no mapping."""
    options = content.get("http_options") if isinstance(content, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def host_of(content: Any) -> str:
    return str(http_options(content).get("host") or DEFAULT_HOST)


def port_of(content: Any) -> int:
    """Of a file that is right."""
    return int(http_options(content).get("port", DEFAULT_PORT))
