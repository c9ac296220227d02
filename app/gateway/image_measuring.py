"""What an image is: its format and its size, read from its headers alone, in a bounded number of steps.

A header can be long: Pillow reads each chunk, segment or block before the picture in Python, and so does the engine
after it. Some formats repeat the picture itself. Whatever has more of them than real images have is refused first.
"""

import io
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_BLOCKS = 10_000  # chunks of a PNG or WebP, segments of a JPEG, blocks before the picture of a GIF
MAX_METADATA_BYTES = 8 * 1024 * 1024  # profiles, EXIF, texts
MAX_SCANS = 100  # of a progressive JPEG: each goes over the whole picture; encoders make about 10


class UnreadableImage(Exception):
    """It is no image that is taken. The message says why."""


class Measured(NamedTuple):
    """An image by its headers."""

    format: str  # in lower case
    pixels: int  # of one picture; of an animation the engine reads the first


def measure(content: bytes) -> Measured:
    """What `content` is. Raises UnreadableImage."""
    _check_blocks(content)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return Measured(str(image.format).lower(), image.width * image.height)
    except Image.DecompressionBombError:
        raise UnreadableImage("it has too many pixels") from None
    except Exception:  # a decoder may raise anything at bad bytes
        raise UnreadableImage("it must be a PNG, JPEG, WebP or GIF") from None


def _check_blocks(content: bytes) -> None:
    metadata = 0
    for number, size in enumerate(_blocks(content)):
        metadata += size
        if number >= MAX_BLOCKS:
            raise UnreadableImage(f"it has more than {MAX_BLOCKS} blocks")
        if metadata > MAX_METADATA_BYTES:
            raise UnreadableImage(f"it has more than {MAX_METADATA_BYTES} bytes of metadata")
    if content.startswith(b"\xff\xd8") and _jpeg_scans(content) > MAX_SCANS:
        raise UnreadableImage(f"it has more than {MAX_SCANS} scans")


def _blocks(content: bytes) -> Iterator[int]:
    """The bytes of metadata in each block of `content`, as far as its format says where blocks begin."""
    if content.startswith(b"\x89PNG"):
        return _png_chunks(content)
    if content.startswith(b"RIFF"):
        return _webp_chunks(content)
    if content.startswith(b"\xff\xd8"):
        return (size for size, _ in _jpeg_segments(content))
    if content.startswith(b"GIF8"):
        return _gif_blocks(content)
    return iter(())


def _png_chunks(content: bytes) -> Iterator[int]:
    place = 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        picture = content[place + 4 : place + 8] in (b"IDAT", b"fdAT")
        yield 0 if picture else length
        place += 12 + length


def _webp_chunks(content: bytes) -> Iterator[int]:
    place = 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        picture = content[place : place + 4] in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
        yield 0 if picture else length
        place += 8 + length + length % 2


def _jpeg_scans(content: bytes) -> int:
    """How often the picture is gone over. What follows its end, such as the film of a camera, is none of it."""
    first = max((place for _, place in _jpeg_segments(content)), default=2)
    end = content.find(b"\xff\xd9", first)
    return content.count(b"\xff\xda", first, len(content) if end < 0 else end)


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Segments up to the first scan: the size of each, and where the next begins. A byte between two is one, too."""
    place = 2
    while place + 4 <= len(content):
        marker = content[place + 1]
        if content[place] != 0xFF or marker in (0x00, 0xFF):
            place += 1
            yield 1, place
        elif marker == 0xDA:
            return
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # without a length
            place += 2
            yield 2, place
        else:
            length = int.from_bytes(content[place + 2 : place + 4], "big")
            place += 2 + max(length, 2)
            yield length, place


def _gif_blocks(content: bytes) -> Iterator[int]:
    """Blocks up to the first picture; a byte between two of them counts as one."""
    place = 13 + _palette_bytes(content[10] if len(content) > 10 else 0)
    while place < len(content) and content[place] not in b",;":
        if content[place] != 0x21:
            yield 1
            place += 1
            continue
        place += 2
        while place < len(content) and content[place]:
            yield content[place]
            place += 1 + content[place]
        yield 1
        place += 1


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
