"""Encodes speech as it is made: samples in, bytes of mp3, opus, aac, flac, wav or pcm out, at once."""

import math
from typing import Any, NamedTuple

import av
import numpy as np

Samples = np.ndarray[Any, np.dtype[np.float32]]

RATE = 24_000  # Hz, of every format that does not want another
TEMPO_STEP = 2.0  # one tempo filter makes audio at most so many times faster or slower without leaving samples out


class AudioFormat(NamedTuple):
    """How one format is audio_format."""

    media_type: str
    container: str
    codec: str
    rate: int = RATE
    bit_rate: int | None = None
    options: dict[str, str] = {}  # noqa: RUF012 - of the container; nobody changes it


FORMATS = {
    # A header that counts the frames cannot be written before they are audio_format.
    "mp3": AudioFormat("audio/mpeg", "mp3", "libmp3lame", bit_rate=64_000, options={"write_xing": "0"}),
    # Ogg joins packets to pages of a second otherwise, and each would leave so much later. Microseconds.
    "opus": AudioFormat("audio/opus", "ogg", "libopus", 48_000, 48_000, {"page_duration": "100000"}),
    "aac": AudioFormat("audio/aac", "adts", "aac", bit_rate=64_000),
    "flac": AudioFormat("audio/flac", "flac", "flac"),
    "wav": AudioFormat("audio/wav", "wav", "pcm_s16le"),  # its header says "until the end": the length is not known
    "pcm": AudioFormat("audio/pcm", "s16le", "pcm_s16le"),
}


class AudioEncoder:
    """Makes one file, piece by piece. The pieces together are the file."""

    def __init__(self, audio_format: AudioFormat, rate: int, tempo: float = 1.0) -> None:
        """`audio_format` is one of FORMATS; `rate` (Hz) is the samples'; `tempo` 2 is twice as fast, pitch kept."""
        self._rate = rate
        self._time = 0
        self._sink = _Sink()
        self._container = av.open(
            self._sink,
            "w",
            format=audio_format.container,
            container_options={"flush_packets": "1"} | audio_format.options,
        )
        stream: Any = self._container.add_stream(audio_format.codec, rate=audio_format.rate, layout="mono")
        if audio_format.bit_rate is not None:
            stream.bit_rate = audio_format.bit_rate
        self._stream = stream
        self._filters = None if math.isclose(tempo, 1.0) else _tempo_filters(rate, tempo)

    def encode(self, samples: Samples) -> bytes:
        """The bytes that are ready once `samples` (mono, -1 to 1) are in; it may be none yet."""
        if not len(samples):
            return b""
        whole = (np.clip(np.nan_to_num(samples), -1.0, 1.0) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole[None, :], "s16", "mono")
        frame.sample_rate, frame.pts = self._rate, self._time
        self._time += len(whole)
        if self._filters is None:
            self._mux(frame)
        else:
            self._filters.push(frame)
            self._drain(self._filters)
        return self._sink.take()

    def finish(self) -> bytes:
        """The last bytes."""
        if self._filters is not None and self._time:
            self._filters.push(None)
            self._drain(self._filters)
        self._mux(None)
        self.close()
        return self._sink.take()

    def close(self) -> None:
        """Free it, finished or not. It may be closed again."""
        self._container.close()

    def _drain(self, filters: Any) -> None:
        while True:
            try:
                frame = filters.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            self._mux(frame)

    def _mux(self, frame: Any) -> None:
        self._container.mux(self._stream.encode(frame))


class _Sink:
    """A file that can only be written: what it was given is taken away at once."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, content: bytes) -> int:
        self._written += content
        return len(content)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _tempo_filters(rate: int, tempo: float) -> Any:
    graph = av.filter.Graph()
    steps = max(1, math.ceil(abs(math.log(tempo, TEMPO_STEP)) - 1e-9))
    nodes = [graph.add_abuffer(sample_rate=rate, format="s16", layout="mono", time_base=None)]
    nodes += [graph.add("atempo", f"{tempo ** (1 / steps):.6f}") for _ in range(steps)]
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    return graph
