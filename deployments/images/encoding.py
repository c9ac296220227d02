"""Images as files: PNG, JPEG, WebP."""

import io
from typing import Any

QUALITY = 100  # of JPEG and WebP, where a client names none, as at OpenAI
FAST_ZLIB = 1  # a PNG of noise or of a photograph hardly shrinks with more, and takes five times as long


def encoded(image: Any, output_format: str, compression: int | None) -> bytes:
    """A PIL image as a file. `compression` is the quality of a JPEG or a WebP, 0 to 100. Blocks."""
    file = io.BytesIO()
    if output_format == "png":
        image.save(file, "PNG", compress_level=FAST_ZLIB)
    else:
        converted = image.convert("RGB") if output_format == "jpeg" else image
        converted.save(file, output_format.upper(), quality=QUALITY if compression is None else compression)
    return file.getvalue()
