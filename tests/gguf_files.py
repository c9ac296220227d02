"""Writes small GGUF files for the tests."""

import struct
from pathlib import Path
from typing import Any, NamedTuple

ALIGNMENT = 32  # bytes


class Tensor(NamedTuple):
    shape: tuple[int, ...]  # slowest dimension first
    kind: int
    stored: bytes


def write_gguf(path: Path, metadata: dict[str, Any], tensors: dict[str, Tensor], version: int = 3) -> Path:
    """`metadata` holds texts, whole numbers (uint32), floats (float32) and lists of one of them."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(_string(name) + _value(value) for name, value in metadata.items())
    data = b""
    for name, (shape, kind, stored) in tensors.items():
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, len(data))
        data += stored + bytes(-len(stored) % ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + data)
    return path


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    kind, stored = _typed(value)
    return struct.pack("<I", kind) + stored


def _typed(value: Any) -> tuple[int, bytes]:
    match value:
        case str():
            return 8, _string(value)
        case int():
            return 4, struct.pack("<I", value)
        case float():
            return 6, struct.pack("<f", value)
        case list():
            kinds, stored = zip(*map(_typed, value), strict=True)
            return 9, struct.pack("<IQ", kinds[0], len(value)) + b"".join(stored)
    raise TypeError(value)
