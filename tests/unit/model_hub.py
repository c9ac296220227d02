"""A stand-in for the hub of models: an HTTP server on this machine."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class Hub(http.server.BaseHTTPRequestHandler):
    """One model, org/tiny, and an unknown one."""

    FILES: ClassVar[dict[str, str]] = {}
    UNREAD: ClassVar[dict[str, int]] = {}  # files that it lists by their sizes, and does not give
    COMMIT = "c" * 40
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.partition(f"/resolve/{self.COMMIT}/")[2]
        sizes = {one: len(text) for one, text in self.FILES.items()} | self.UNREAD
        if self.path.startswith("/api/models/org/tiny/tree/"):
            tree = [{"type": "file", "path": one, "size": size, "oid": "0" * 40} for one, size in sizes.items()]
            self._send(200, json.dumps(tree))
        elif self.path.startswith("/api/models/org/tiny"):
            siblings = [{"rfilename": one, "size": size} for one, size in sizes.items()]
            counted = {"parameters": {"BF16": 1_000_000}, "total": 1_000_000}
            info = {"id": "org/tiny", "sha": self.COMMIT, "siblings": siblings, "safetensors": counted}
            self._send(200, json.dumps(info))
        elif self.path.startswith("/org/tiny/") and name in self.FILES:
            self._send(200, self.FILES[name])
        else:
            self._send(404, "{}", "RepoNotFound")

    def _send(self, status: int, text: str, error: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", self.COMMIT)
        self.send_header("ETag", f'"{len(body)}"')
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(hub: type[Hub]) -> Iterator[str]:
    """Its address, as HF_ENDPOINT takes it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), hub) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
