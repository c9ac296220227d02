"""An audio file as tests look at it: its samples, its length."""

import io
from typing import Any

import av
import numpy as np

PCM_RATE = 24_000  # Hz, of the format without a header


def decoded(kind: str, data: bytes) -> tuple[Any, int]:
    """Samples (mono, -1 to 1) and their rate in Hz."""
    if kind == "pcm":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768, PCM_RATE
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("flt", "mono")
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


def seconds(kind: str, data: bytes) -> float:
    samples, rate = decoded(kind, data)
    return len(samples) / rate
