"""Recordings made on the spot: a voice without words, silence, in every format; and files that are no recordings."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

RATE = 16_000
SYLLABLE_SECONDS = 0.25
VOWELS = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
BANDWIDTHS = (80, 90, 120)

# format -> container and codec
FORMATS = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "flac": ("flac", "flac"),
    "m4a": ("ipod", "aac"),
    "aac": ("adts", "aac"),
    "webm": ("webm", "libopus"),
}

Samples = np.ndarray[Any, np.dtype[np.float32]]


def voice(seconds: float) -> Samples:
    """A buzz through the formants of vowels, four a second: a detector of voices takes it for one."""
    count = int(seconds * RATE)
    time = np.arange(count) / RATE
    noise = np.random.default_rng(0).normal(0, 0.02, count)
    buzz = (np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / RATE % 1 < 0.1) + noise
    step = int(SYLLABLE_SECONDS * RATE)
    spectrum_at = np.fft.rfftfreq(step, 1 / RATE)
    samples = np.zeros(count)
    for number, start in enumerate(range(0, count, step)):
        piece = buzz[start : start + step]
        vowel = VOWELS[number * 3 % len(VOWELS)]
        gain = sum(1 / (1 + ((spectrum_at - f) / b) ** 2) for f, b in zip(vowel, BANDWIDTHS, strict=True))
        shaped = np.fft.irfft(np.fft.rfft(piece, step) * gain, step)[: len(piece)]
        samples[start : start + step] = shaped * np.sqrt(np.abs(np.sin(np.pi * np.arange(len(piece)) / step)))
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), np.float32)


def encoded(samples: Samples, form: str, rate: int = RATE, bits_per_second: int | None = None) -> bytes:
    """`samples` in one of `FORMATS`; `rate` is what the file says of them."""
    container_format, codec = FORMATS[form]
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=48_000 if "opus" in codec else rate)
        stream.layout = "mono"
        if bits_per_second is not None:
            stream.bit_rate = bits_per_second
        resampler = av.AudioResampler(stream.format, "mono", stream.rate)
        for start in range(0, len(samples), RATE):
            block = (samples[start : start + RATE] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(block[None, :], "s16", "mono")
            frame.sample_rate, frame.pts = rate, start
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return file.getvalue()


def long_silence(minutes: int) -> bytes:
    """Silence in Opus, about 14 kB a minute."""
    return repeated(encoded(silence(60), "opus"), minutes)


def repeated(opus: bytes, times: int) -> bytes:
    """The packets of a file in Opus, again and again."""
    with av.open(io.BytesIO(opus)) as once:
        packets = [bytes(packet) for packet in once.demux() if packet.size]
        file = io.BytesIO()
        with av.open(file, "w", format="ogg") as container:
            stream = container.add_stream_from_template(once.streams.audio[0])
            for number in range(len(packets) * times):
                packet = av.Packet(packets[number % len(packets)])
                packet.stream, packet.time_base = stream, Fraction(1, 48_000)
                packet.pts = packet.dts = number * 960
                container.mux(packet)
    return file.getvalue()


TEXT = b"This is a text, whatever its name says. " * 50
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
# It would have the decoder listen to the network.
SESSION = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
