"""Reads GGUF files, the format of llama.cpp: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

The package `gguf` reads every kind of tensor there is; these are a few, on numpy alone, among them those of SmolLM2's
file.
"""

import math
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32  # bytes
BLOCK = 32  # values that share a scale
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # of struct


class GgufError(ValueError):
    """The file is no GGUF file, is cut, or holds what is not read here."""


class Kind(NamedTuple):
    """How a tensor is stored: so many bytes hold so many values."""

    values: int
    bytes: int
    read: Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # (blocks, bytes) to (blocks, values)


def _f32(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return blocks.view("<f4").astype(np.float32)


def _f16(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return blocks.view("<f2").astype(np.float32)


def _q8_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A scale, then 32 signed bytes."""
    scale = _f16(np.ascontiguousarray(blocks[:, :2]))
    steps = blocks[:, 2:].view(np.int8).astype(np.float32)
    return steps * scale


def _q4_1(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A scale and a minimum, then 32 halves of bytes: the low ones of all 16 bytes first."""
    scale, minimum = np.split(_f16(np.ascontiguousarray(blocks[:, :4])), 2, axis=1)
    steps = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    weights: NDArray[np.float32] = steps.astype(np.float32) * scale + minimum
    return weights


KINDS = {
    0: Kind(1, 4, _f32),
    1: Kind(1, 2, _f16),
    3: Kind(BLOCK, 4 + BLOCK // 2, _q4_1),
    8: Kind(BLOCK, 2 + BLOCK, _q8_0),
}


class Gguf:
    """A GGUF file: what it says of its model, and its tensors, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Raises GgufError."""
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._position = 0
        if self._take(4) != MAGIC:
            raise GgufError(f"{path.name} is not a GGUF file: it does not begin with {MAGIC.decode()}")
        version = self._scalar("I")
        if version not in VERSIONS:
            raise GgufError(f"{path.name} is of GGUF version {version}; versions 2 and 3 are read here")
        tensors, fields = self._scalar("Q"), self._scalar("Q")
        self.metadata: dict[str, Any] = {self._string(): self._value(self._scalar("I")) for _ in range(fields)}
        self._infos = {self._string(): self._info() for _ in range(tensors)}
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        self._data = -(-self._position // alignment) * alignment

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._infos)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """The tensor `name`, its slowest dimension first. Raises GgufError."""
        shape, number, offset = self._infos[name]
        if number not in KINDS:
            raise GgufError(f"{name} is a tensor of type {number}; types {', '.join(map(str, KINDS))} are read here")
        kind = KINDS[number]
        blocks = math.prod(shape) // kind.values
        self._position = self._data + offset
        stored = np.frombuffer(self._take(blocks * kind.bytes), np.uint8)
        return kind.read(stored.reshape(blocks, kind.bytes)).reshape(shape)

    def _info(self) -> tuple[tuple[int, ...], int, int]:
        """A tensor's shape, kind and place in the data."""
        fastest_first = [self._scalar("Q") for _ in range(self._scalar("I"))]
        return tuple(reversed(fastest_first)), self._scalar("I"), self._scalar("Q")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            of, length = self._scalar("I"), self._scalar("Q")
            return [self._value(of) for _ in range(length)]
        if kind not in SCALARS:
            raise GgufError(f"the metadata has a value of type {kind}, which GGUF does not know")
        return self._scalar(SCALARS[kind])

    def _string(self) -> str:
        return self._take(self._scalar("Q")).decode()

    def _scalar(self, code: str) -> Any:
        (value,) = struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))
        return value

    def _take(self, length: int) -> bytes:
        """The next bytes. Raises GgufError where the file ends before."""
        end = self._position + length
        if end > len(self._bytes):
            raise GgufError(f"the file ends at byte {len(self._bytes)}, within what should reach to byte {end}")
        taken = self._bytes[self._position : end]
        self._position = end
        return taken
