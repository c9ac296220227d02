"""The files of the console: its own in `static/`, and Swagger UI's from the package fastapi-swagger."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

STATIC = Path(__file__).parent / "static"
PREFIX = "/console/"  # of every path but those of the pages
PAGES = {"/": "index.html"}
REFERENCE = {"/docs": "docs.html"}
SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """One file, whole."""

    content: bytes
    content_type: str

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def read_files() -> dict[str, File]:
    """Every file by its path in a URL. Without the package there is no /docs. Blocks."""
    own = {path.name: _read(path) for path in sorted(STATIC.iterdir())}
    swagger = {name: _read(folder / name) for folder in _swagger_folder() for name in SWAGGER_FILES}
    pages = PAGES | (REFERENCE if swagger else {})
    html = {*PAGES.values(), *REFERENCE.values()}
    files = {PREFIX + name: file for name, file in (own | swagger).items() if name not in html}
    return files | {path: own[name] for path, name in pages.items()}


def _read(path: Path) -> File:
    return File(path.read_bytes(), CONTENT_TYPES[path.suffix])


def _swagger_folder() -> list[Path]:
    """The package's folder of files, or nothing. The package itself is not imported."""
    spec = find_spec("fastapi_swagger")
    return [Path(place) / "resources" for place in (spec.submodule_search_locations or [])][:1] if spec else []
