"""Decodes one recording in a process of its own: `python decoder.py SECONDS CPU_SECONDS BYTES < RECORDING > SAMPLES`.

FFmpeg reads what strangers wrote, and much that costs hours or gigabytes hides in one call of it: tags that are
compared one with all others, tags that are compressed, indexes that lead anywhere. So the kernel bounds the process:
its CPU time, its memory, and the files that it can open, which are none. Samples are 16 kHz mono 32-bit floats of this
machine; the exit status is a `Fault`, or 0.
"""

import enum
import itertools
import resource
import sys
from collections.abc import Iterator
from typing import Any

import av

# PyAV imports these where it meets such a stream, when no file can be opened any more.
import av.logging
import av.subtitles.stream
import av.video.stream

SAMPLE_RATE = 16_000
SAMPLE_BYTES = 4
RATES = (1_000, 384_000)
MAX_CHANNELS = 8

# As FFmpeg calls them. No playlists, no lists of files, no sessions of a network, no images.
CONTAINERS = "wav,mp3,flac,ogg,mov,mp4,m4a,matroska,webm,aac,aiff,caf,amr"
CODECS = (
    "aac,mp1float,mp2float,mp3float,mp3,opus,libopus,vorbis,flac,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,"
    "adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,gsm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16be,pcm_s16le,pcm_s24be,"
    "pcm_s24le,pcm_s32be,pcm_s32le,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le"
)
OPTIONS = {
    "format_whitelist": CONTAINERS,
    "codec_whitelist": CODECS,  # of what is decoded to find out what a stream is
    "protocol_whitelist": "none",
    "max_streams": "64",
}

# Containers that write their length down, as FFmpeg calls them; of others it guesses from the first bit rate.
MEASURED = frozenset({"ogg", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"})


class Fault(enum.IntEnum):
    """Why a recording is refused: the exit status."""

    NO_RECORDING = 10
    NO_AUDIO = 11
    CODEC = 12
    RATE = 13
    CHANNELS = 14
    TOO_LONG = 15
    NOTHING_DECODED = 16
    NO_MEMORY = 17


class Refused(Exception):
    """The recording is refused."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


def decode(file: Any, max_seconds: float) -> Iterator[memoryview]:
    """The samples of the first audio stream in `file`. Raises Refused.

    What a damaged or cut file still holds is taken; a file without any audio in it is refused.
    """
    try:
        container = av.open(file, options=OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        raise Refused(Fault.NO_RECORDING) from None
    with container:
        if not container.streams.audio:
            raise Refused(Fault.NO_AUDIO)
        codec = container.streams.audio[0].codec_context
        if codec is None or codec.name not in CODECS.split(","):
            raise Refused(Fault.CODEC)
        _check(codec)
        if container.format.name in MEASURED and (container.duration or 0) / av.time_base > max_seconds + 1:
            raise Refused(Fault.TOO_LONG)  # what a file says of its length is only believed against it
        left = int(max_seconds * SAMPLE_RATE)
        for frame in _resampled(container, max_seconds):
            left -= frame.samples
            if left < 0:
                raise Refused(Fault.TOO_LONG)
            yield memoryview(frame.planes[0])[: frame.samples * SAMPLE_BYTES]
    if left == int(max_seconds * SAMPLE_RATE):
        raise Refused(Fault.NOTHING_DECODED)


def _check(audio: Any) -> None:
    """Refuse what a resampler would need gigabytes for. `audio` is a codec's context or a frame."""
    if not RATES[0] <= audio.sample_rate <= RATES[1]:
        raise Refused(Fault.RATE)
    if audio.layout.nb_channels > MAX_CHANNELS:
        raise Refused(Fault.CHANNELS)


def _resampled(container: Any, max_seconds: float) -> Iterator[Any]:
    """The frames at our rate. Measured before they are resampled: a low rate can make much of little."""
    decoded = 0.0
    for _, frames in itertools.groupby(_frames(container), _format):  # some containers change it midway
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        for frame in frames:
            decoded += frame.samples / frame.sample_rate
            if decoded > max_seconds:
                raise Refused(Fault.TOO_LONG)
            frame.pts = None  # gaps and jumps of a damaged file are not filled
            yield from resampler.resample(frame)
        yield from resampler.resample(None)


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
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            continue
        for frame in frames:
            if frame.samples and frame.sample_rate:
                _check(frame)
                yield frame


def _format(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def main() -> int:
    max_seconds, cpu_seconds, memory = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    try:
        for samples in decode(sys.stdin.buffer, max_seconds):
            sys.stdout.buffer.write(samples)
        sys.stdout.flush()
    except Refused as refused:
        return refused.fault
    except MemoryError:
        return Fault.NO_MEMORY
    except Exception:  # a decoder may raise anything at bad bytes
        return Fault.NO_RECORDING
    return 0


if __name__ == "__main__":
    sys.exit(main())
