"""A package index and a Hugging Face hub of a test's own, on this machine, that answer requests for parts of files."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local_models.sources import Wheel


@dataclass
class PackageServer:
    """What it has, and what it was asked for: paths, and the first byte asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    knows_ranges: bool = True
    stops_after: int | None = None  # bytes; then it sends no more and keeps the connection
    breaks_after: int | None = None  # bytes; then it closes the connection, once
    breaks_each_after: int | None = None  # the same, of every connection
    stopped: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def settings(self) -> Mapping[str, str]:
        """pip's, with this server as its only index."""
        return {"index-url": f"{self.url}/simple"}

    def add_wheel(self, wheel: Wheel, content: bytes, stated: str | None = None) -> None:
        """List the wheel in the index, with the hash `stated`: by default the true one."""
        self.files[f"/files/{wheel.filename}"] = content
        page = f'<a href="/files/{wheel.filename}#sha256={stated or sha256(content)}">{wheel.filename}</a>'
        self.files[f"/simple/{wheel.package}/"] = f"<!DOCTYPE html><html><body>{page}</body></html>".encode()

    def asked_for(self, name: str) -> list[int]:
        """The first bytes that were asked of the files of that name."""
        return [first for path, first in self.asked if path.endswith(f"/{name}")]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def a_wheel(package: str, members: Mapping[str, bytes]) -> tuple[Wheel, bytes]:
    """A wheel with these members, and its bytes."""
    content = zipped(members)
    return Wheel(package, "1.0.0", sha256(content), len(content)), content


@contextmanager
def package_server() -> Iterator[PackageServer]:
    state = PackageServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            span = self.headers.get("Range", "bytes=0-")
            first = int(span.removeprefix("bytes=").removesuffix("-")) if state.knows_ranges else 0
            state.asked.append((self.path, first))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            if first >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            self._send(content[first:])

        def _send(self, content: bytes) -> None:
            is_file = not self.path.endswith("/")
            if is_file and state.breaks_after is not None:
                self.wfile.write(content[: state.breaks_after])
                state.breaks_after = None
                self.close_connection = True
                return
            if is_file and state.breaks_each_after is not None:
                self.wfile.write(content[: state.breaks_each_after])
                self.close_connection = True
                return
            if is_file and state.stops_after is not None:
                self.wfile.write(content[: state.stops_after])
                state.stopped.set()
                state.go_on.wait(60)
                self.close_connection = True
                return
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        state.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
