"""As much of torchaudio as XTTS and Qwen3-TTS use, for a torch for CPUs: the package index has builds for GPUs only.

Only those two, in the tests, have this folder on their path.
"""

from typing import Any

import torch

from torchaudio import functional, transforms

__all__ = ["functional", "load", "transforms"]


def load(path: str) -> tuple[torch.Tensor, int]:
    """Samples of shape (channels, time), and their rate."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    sound: Any = torch.from_numpy(samples.T.copy())
    return sound, rate
