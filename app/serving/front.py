"""What stands before the gateway: the console, and the headers for pages of other origins."""

from app.config.service import Cors as CorsSettings
from app.console.application import ASGI, Console, Sources
from app.console.files import File
from app.http.cors import Cors


def fronted(gateway: ASGI, sources: Sources, files: dict[str, File] | None, cors: CorsSettings) -> ASGI:
    """The whole application. `files` is None where the console is off; who allows no origin gets no layer for it."""
    front = gateway if files is None else Console(files, sources, gateway)
    return Cors(front, cors.allowed_origins) if cors.allowed_origins else front
