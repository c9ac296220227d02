"""Mel spectrograms, with librosa's filters."""

from collections.abc import Callable
from typing import Any

import torch


class MelSpectrogram(torch.nn.Module):
    """Powers of mel bands, of shape (channels, bands, frames)."""

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        n_mels: int,
        window_fn: Callable[[int], torch.Tensor] = torch.hann_window,
        f_min: float = 0.0,
        f_max: float | None = None,
        norm: str | None = None,
        **_: Any,
    ) -> None:
        import librosa

        super().__init__()
        bands = librosa.filters.mel(
            sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, norm=norm, htk=True
        )
        self.register_buffer("bands", torch.from_numpy(bands), persistent=False)
        self.register_buffer("window", window_fn(win_length), persistent=False)
        self._sizes = (n_fft, hop_length, win_length)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        n_fft, hop_length, win_length = self._sizes
        spectrum = torch.stft(sound, n_fft, hop_length, win_length, self.window, return_complex=True)
        return self.bands @ spectrum.abs().square()
