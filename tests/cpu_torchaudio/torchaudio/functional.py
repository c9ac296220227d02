"""Resampling, by soxr."""

import torch


def resample(sound: torch.Tensor, rate: int, wanted: int) -> torch.Tensor:
    """`sound` of shape (channels, time) at the `wanted` rate."""
    import soxr

    return torch.from_numpy(soxr.resample(sound.cpu().numpy().T, rate, wanted).T.copy()).to(sound.device)
