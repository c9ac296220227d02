"""Decodes recordings: any container and codec that FFmpeg knows, slice by slice, to 16 kHz mono 32-bit floats."""

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from contract.errors import ApiError

SAMPLE_RATE = 16_000
SLICE_SECONDS = 30
# Playlists and manifests can name other files and hosts; with no protocol allowed none is opened.
CLOSED = {"protocol_whitelist": "none"}

# Containers that write their length down, as FFmpeg calls them; of others it guesses from the first bit rate.
MEASURED = frozenset({"ogg", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"})

Samples = np.ndarray[Any, np.dtype[np.float32]]


class Recording:
    """One recording, decoded by iterating it. Memory is taken as it fills, never beyond the limit."""

    def __init__(self, content: bytes | memoryview, max_seconds: float) -> None:
        self._content = content
        self._max_seconds = max_seconds
        self._samples: Samples = np.empty(int(max_seconds * SAMPLE_RATE), np.float32)
        self._length = 0

    @property
    def samples(self) -> Samples:
        """What is decoded so far."""
        return self._samples[: self._length]

    @property
    def seconds(self) -> float:
        return self._length / SAMPLE_RATE

    def decode(self) -> Iterator[None]:
        """Decode a slice of `SLICE_SECONDS` with each step. Raises ApiError `invalid_audio`.

        What a damaged or cut file still holds is taken; a file without any audio in it is refused.
        """
        if not self._content:
            raise _invalid("The file is empty.")
        try:
            container = av.open(io.BytesIO(self._content), options=CLOSED, metadata_errors="ignore")
        except (av.FFmpegError, ValueError):
            raise _invalid(
                "The file is no recording that can be read, or it is cut off. Send mp3, m4a, mp4, wav, webm, ogg, opus "
                "or flac."
            ) from None
        with container:
            if not container.streams.audio:
                raise _invalid("The file holds no audio.")
            if self._claims_too_much(container):
                raise self._too_long()
            stop = SLICE_SECONDS
            for piece in self._pieces(container):
                self._take(piece)
                if self.seconds >= stop:
                    stop += SLICE_SECONDS
                    yield
        if not self._length:
            raise _invalid("The file holds no audio that can be decoded; it may be cut off or damaged.")

    def _claims_too_much(self, container: Any) -> bool:
        """Whether the file itself says that it is too long; what it says is only believed against it."""
        duration = container.duration if container.format.name in MEASURED else None
        return duration is not None and duration / av.time_base > self._max_seconds + 1

    def _pieces(self, container: Any) -> Iterator[Samples]:
        """The audio as it is decoded. Measured before it is resampled: a low rate can make much of little."""
        resampler = _resampler()
        format_ = None
        decoded = 0.0
        for frame in _frames(container):
            decoded += frame.samples / frame.sample_rate
            if decoded > self._max_seconds:
                raise self._too_long()
            if format_ not in (None, _format(frame)):  # some containers change it midway
                yield from map(_samples, resampler.resample(None))
                resampler = _resampler()
            format_ = _format(frame)
            frame.pts = None  # gaps and jumps of a damaged file are not filled
            yield from map(_samples, resampler.resample(frame))
        if format_ is not None:
            yield from map(_samples, resampler.resample(None))

    def _take(self, piece: Samples) -> None:
        end = self._length + len(piece)
        if end > len(self._samples):
            raise self._too_long()
        self._samples[self._length : end] = piece
        self._length = end

    def _too_long(self) -> ApiError:
        return _invalid(f"The recording is longer than {self._max_seconds:g} s once decoded. Send it in shorter parts.")


def _frames(container: Any) -> Iterator[Any]:
    """The frames of the first audio stream, without what is damaged."""
    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from (frame for frame in frames if frame.samples and frame.sample_rate)


def _resampler() -> Any:
    return av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)


def _format(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _samples(frame: Any) -> Samples:
    samples: Samples = frame.to_ndarray().reshape(-1)
    return samples


def _invalid(message: str) -> ApiError:
    return ApiError("invalid_audio", message, param="file")
