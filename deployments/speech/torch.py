"""What speech engines that run on torch share: their device, their random numbers, and how they are stopped."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from deployments.speech.synthesizer import Cancelled

SEED_BITS = 63


def device_of(named: str | None) -> str:
    """The device that the configuration names, else a GPU where there is one."""
    import torch

    return named or ("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Random numbers that follow from `seed`, or from none; afterwards torch's own go on as if nothing had been."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(secrets.randbits(SEED_BITS) if seed is None else seed)
        yield


@contextmanager
def stoppable(modules: Iterable[Any], cancelled: Callable[[], bool]) -> Iterator[None]:
    """A step of any of `modules`, of which a sentence takes hundreds, raises Cancelled once `cancelled` says so."""

    def look(*_: Any) -> None:
        if cancelled():
            raise Cancelled

    hooks = [module.register_forward_pre_hook(look) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
