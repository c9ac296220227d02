"""What stands before the gateway: the console, the routes for operators, and the headers for pages of other origins."""

from app.admin.application import Admin
from app.admin.application import Sources as AdminSources
from app.config.service import Config
from app.console.application import Console
from app.console.files import File
from app.console.sources import Sources
from app.http.cors import Cors
from app.http.fastapi_answers import ASGI


def fronted(
    gateway: ASGI, sources: Sources, files: dict[str, File] | None, admin: AdminSources, config: Config
) -> ASGI:
    """The whole application. `files` is None where the console is off; what is off gets no layer."""
    front = gateway if files is None else Console(files, sources, gateway)
    front = Admin(admin, config.limits, front) if config.admin.enabled else front
    return Cors(front, config.cors.allowed_origins) if config.cors.allowed_origins else front
