"""The functions that vLLM runs on CPUs in the place of kernels for GPUs, put in the hands of others."""

from collections.abc import Callable


def replace_expand_on_cpus(function: Callable[..., None]) -> None:
    """Have vLLM call `function` where it would call its own in the place of the kernel `expand_kernel`."""
    from vllm.utils import cpu_triton_utils

    cpu_triton_utils._expand_kernel_impl = function


def wrap_lora_on_cpus(wrap: Callable[[Callable[..., None], str], Callable[..., None]]) -> None:
    """Have vLLM call `wrap(method, indices)` in the place of each method that adds what adapters change on CPUs.

    `indices` is the attribute that has the adapter of each row: of a token, or of a request.
    """
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    tokens = ("add_lora_linear", "add_lora_embedding", "add_expand")
    for name, indices in [*((name, "token_lora_indices") for name in tokens), ("add_lora_logits", "sampler_indices")]:
        setattr(PunicaWrapperCPU, name, wrap(getattr(PunicaWrapperCPU, name), indices))
