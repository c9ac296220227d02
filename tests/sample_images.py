"""Small images, good and bad, and a web server that hands them out."""

import base64
import io
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from PIL import Image

IMAGE_BOUNDS = {"max_per_request": 4, "max_bytes": 100_000, "max_pixels": 250_000, "fetch_timeout_s": 2}


def image(width: int = 64, height: int = 48, form: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(content, form)
    return content.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def blank(width: int, height: int) -> bytes:
    """A PNG of any size without its picture."""
    return PNG[:8] + chunk(b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT") + PNG[-12:]


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


PNG = image()
TOO_MANY_PIXELS = image(501, 500)  # a small file
TOO_LARGE = PNG + bytes(IMAGE_BOUNDS["max_bytes"])
TRUNCATED = image(200, 200, "JPEG")[:-600]  # its header is whole


class ImageServer:
    """Answers every path with what `pages` has for it; `/moved` redirects, `/slow` never ends."""

    def __init__(self) -> None:
        self.pages = {"/good.png": PNG, "/large.png": TOO_LARGE, "/text.png": b"no image"}
        self.requested: list[str] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requested.append(self.path)
                if self.path == "/moved.png":
                    self.send_response(302)
                    self.send_header("Location", "/good.png")
                    self.end_headers()
                elif self.path == "/slow.png":
                    server._closing.wait(60)
                elif content := server.pages.get(self.path):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(content)
                else:
                    self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
