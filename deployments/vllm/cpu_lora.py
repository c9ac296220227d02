"""Mends LoRA on CPUs, where vLLM 0.32 gives tokens of no adapter the changes of the last one that it has loaded.

Such a token's index is -1. The kernels for GPUs pass over it; the functions of torch that are in their place on CPUs
take it for the last of the adapters, in every step that also has tokens of an adapter.
"""

from collections.abc import Callable
from typing import Any

from deployments.vllm.internals.cpu_kernels import wrap_lora_on_cpus

Method = Callable[..., None]


def register() -> None:
    """For a plugin of vLLM's, which loads it in each of its processes."""
    wrap_lora_on_cpus(keeping_others)


def keeping_others(method: Method, indices: str) -> Method:
    """`method` changes its first argument, of [..., rows, features]; now only the rows that are of an adapter.

    `indices` names the attribute of its object with the adapter's index for each row, below 0 where there is none.
    """

    def kept(self: Any, y: Any, *args: Any, **kwargs: Any) -> None:
        others = getattr(self, indices) < 0
        if others.all():
            return
        rows = y.view(-1, y.shape[-1])
        before = rows[others]  # a copy
        method(self, y, *args, **kwargs)
        rows[others] = before

    return kept
