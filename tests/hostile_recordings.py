"""Recordings that cost who decodes them hours or gigabytes, and films, whose audio is a recording like any other."""

import io
import struct
import zlib
from typing import Any

import av
import numpy as np

from tests.recordings import encoded, silence, voice


def wav(rate: int = 16_000, channels: int = 1, size: int = 32_000) -> bytes:
    """A header of any rate and number of channels, before `size` bytes of silence."""
    block = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, 16)
    data = bytes(size)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def flac_with_comments(count: int) -> bytes:
    """A FLAC with so many tags, each of which FFmpeg compares with all before it."""
    content = encoded(voice(1), "flac")
    head, frames = content[:42], content[42:]
    tags = b"".join(struct.pack("<I", 9) + b"%07d=v" % number for number in range(count))
    block = struct.pack("<I", 0) + struct.pack("<I", count) + tags
    return head[:4] + bytes([0]) + head[5:] + bytes([4]) + len(block).to_bytes(3, "big") + block + frames


def mp3_with_compressed_tags(count: int, size: int) -> bytes:
    """An MP3 with `count` tags of `size` bytes each, compressed to a thousandth."""
    tags = b""
    for number in range(count):
        text = b"\x03" + b"%d\0" % number + b"a" * size
        tag = _syncsafe(len(text)) + zlib.compress(text, 9)
        tags += b"TXXX" + _syncsafe(len(tag)) + b"\x00\x09" + tag
    return b"ID3\x04\x00\x00" + _syncsafe(len(tags)) + tags + encoded(voice(1), "mp3")


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def muxed(container_format: str, codecs: list[str], options: dict[str, str] | None = None) -> bytes:
    """A second of silence in every stream, one for each codec; of video, one black picture."""
    file = io.BytesIO()
    with av.open(file, "w", format=container_format, options=options or {}) as container:
        streams: list[Any] = []
        for codec in codecs:
            if av.codec.Codec(codec, "w").type == "video":
                stream: Any = container.add_stream(codec, rate=1)
                stream.width = stream.height = 64
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            else:
                stream = container.add_stream(codec, rate=16_000, layout="mono")
            streams.append(stream)
        for stream in streams:
            if stream.type == "video":
                frame: Any = av.VideoFrame(64, 64, stream.pix_fmt)
                container.mux(stream.encode(frame))
            else:
                for ready in av.AudioResampler(stream.format, "mono", 16_000).resample(_second()):
                    container.mux(stream.encode(ready))
            container.mux(stream.encode(None))
    return file.getvalue()


def _second() -> Any:
    frame = av.AudioFrame.from_ndarray(silence(1).astype(np.int16)[None, :], "s16", "mono")
    frame.sample_rate = 16_000
    return frame
