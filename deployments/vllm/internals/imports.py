"""What of vLLM is imported ahead of an engine, and what its imports take along for nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from deployments.imports import importing
from deployments.vllm.internals.lone_groups import share_the_loop

# transformers takes them along, for a kind of decoding and for losses: vLLM decodes by itself, and trains nothing.
NOT_USED = ("sklearn", "scipy")


@contextmanager
def importing_vllm() -> Iterator[None]:
    """Imports of vLLM, without what they take along for nothing."""
    with importing(without=NOT_USED):
        yield
    if "scipy" not in sys.modules:
        _resample_with_scipy_when_asked()


def import_engine() -> None:
    """Import what an engine on a CPU runs, with the commonest kind of models."""
    with importing_vllm():
        for module in ("engine.core", "worker.cpu_worker", "attention.backends.cpu_attn"):
            import_module(f"vllm.v1.{module}")
        import_module("vllm.model_executor.models.llama")
    share_the_loop()


def _resample_with_scipy_when_asked() -> None:
    """The one use that vLLM makes of scipy, for the audio of one family of models, imports it then."""
    from vllm.multimodal import audio
    from vllm.utils.import_utils import LazyLoader

    audio.scipy_signal = LazyLoader("scipy_signal", vars(audio), "scipy.signal")
