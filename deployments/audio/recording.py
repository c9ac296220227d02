"""Decodes recordings to 16 kHz mono 32-bit floats, slice by slice, each in a process that the kernel bounds."""

import os
import select
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np

from contract.errors import ApiError
from deployments.audio import decoder
from deployments.audio.decoder import SAMPLE_BYTES, Fault

SAMPLE_RATE = decoder.SAMPLE_RATE
SLICE_SECONDS = 30
PAUSE_SECONDS = 120  # without a sample: a decoder that its CPU time does not end
ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")

LEGAL = "Send mp3, m4a, mp4, wav, webm, ogg, opus or flac"
FAULTS = {
    Fault.NO_RECORDING: f"The file is no recording that can be read, or it is cut off. {LEGAL}.",
    Fault.NO_AUDIO: "The file holds no audio.",
    Fault.CODEC: f"The audio in the file has a codec that is not read here. {LEGAL}.",
    Fault.RATE: "The sample rate of the audio is not between {} and {} Hz. Send it at 16000 Hz.".format(*decoder.RATES),
    Fault.CHANNELS: f"The audio has more than {decoder.MAX_CHANNELS} channels. Send one channel.",
    Fault.NOTHING_DECODED: "The file holds no audio that can be decoded; it may be cut off or damaged.",
}

Samples = np.ndarray[Any, np.dtype[np.float32]]


class DecodingLimits(NamedTuple):
    """Bounds on the decoding of one recording."""

    max_seconds: float  # of audio
    cpu_seconds: int
    memory_bytes: int


class Recording:
    """One recording, decoded by iterating it. Memory is taken as it fills, never beyond the limit."""

    def __init__(self, content: bytes | memoryview, limits: DecodingLimits) -> None:
        self._content = content
        self._limits = limits
        self._samples: Samples = np.empty(int(limits.max_seconds * SAMPLE_RATE), np.float32)
        self._bytes = 0

    @property
    def samples(self) -> Samples:
        """What is decoded so far."""
        return self._samples[: self._bytes // SAMPLE_BYTES]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def decode(self) -> Generator[None]:
        """Decode a slice of `SLICE_SECONDS` with each step. Raises ApiError `invalid_audio`.

        What a damaged or cut file still holds is taken; a file without any audio in it is refused.
        """
        if not self._content:
            raise _invalid("The file is empty.")
        with self._decoder() as process:
            stop = SLICE_SECONDS
            while self._read(process.stdout):
                if self.seconds >= stop:
                    stop += SLICE_SECONDS
                    yield
            self._check(_exit_status(process))

    @contextmanager
    def _decoder(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The process that decodes. It ends with this."""
        with os.fdopen(os.memfd_create("recording"), "w+b", buffering=0) as file:
            _write(file, self._content)
            process = subprocess.Popen(  # noqa: S603 - our own file, by this interpreter
                [sys.executable, "-P", decoder.__file__, *map(str, self._limits)],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            )
        try:
            with process.stdout:  # type: ignore[union-attr]
                yield process
        finally:
            process.kill()
            process.wait()

    def _read(self, samples: Any) -> int:
        """How many bytes of samples came; 0 at the end, or where there is no room for more."""
        room = self._samples.view(np.uint8)[self._bytes :]
        coming = select.poll()
        coming.register(samples)
        read = samples.readinto(room) if coming.poll(PAUSE_SECONDS * 1000) else 0
        self._bytes += read
        return int(read)

    def _check(self, status: int | None) -> None:
        """Refuse a recording whose decoding ended with `status`; None: it did not end."""
        if status == 0 and self._bytes:
            return
        if status == Fault.TOO_LONG:
            longest = self._limits.max_seconds
            raise _invalid(f"The recording is longer than {longest:g} s once decoded. Send it in shorter parts.")
        if status in FAULTS:
            raise _invalid(FAULTS[Fault(status)])
        if status is None or status < 0 or status == Fault.NO_MEMORY:
            raise _invalid(
                f"The recording is damaged, or needs more than {self._limits.cpu_seconds} s of CPU time or "
                f"{self._limits.memory_bytes} bytes of memory to decode. Encode it again, without tags."
            )
        raise RuntimeError(f"the decoder ended with status {status}")


def _write(file: IO[bytes], content: bytes | memoryview) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    file.seek(0)


def _exit_status(process: "subprocess.Popen[bytes]") -> int | None:
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        return None


def _invalid(message: str) -> ApiError:
    return ApiError("invalid_audio", message, param="file")
