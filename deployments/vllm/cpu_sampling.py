"""A plugin of vLLM's, loaded in each of its processes: it mends sampling with speculative decoding on CPUs, and LoRA
there, and gives grammars of Lark to llguidance.

vLLM 0.32 has functions in the place of its Triton kernels where there is no Triton. The one that repeats a request's
temperature, top_k and top_p for each of its draft tokens writes to a copy, unless those are 64-bit integers: tokens
were sampled at whatever temperature lay in fresh memory.
"""

from typing import Any

from deployments.vllm import cpu_lora
from deployments.vllm.internals.cpu_kernels import replace_expand_on_cpus
from deployments.vllm.internals.lark_grammars import hold_lark_grammars


def register() -> None:
    """`vllm.general_plugins` in pyproject.toml. It comes before vLLM puts its functions in the kernels' places."""
    replace_expand_on_cpus(expand)
    cpu_lora.register()
    hold_lark_grammars()


def expand(output: Any, values: Any, cu_num_tokens: Any, replace_from: int, replace_to: int, *_: int) -> None:
    """Fill `output` of [tokens] with `values` of [requests], each as often as its request has draft tokens.

    `cu_num_tokens` of [requests] are those up to and with each request. `replace_to` stands for `replace_from`.
    """
    from torch import where  # noqa: PLC0415 - vLLM loads this as it starts

    drafts = cu_num_tokens.diff(prepend=cu_num_tokens.new_zeros(1))
    output.copy_(where(values == replace_from, replace_to, values).repeat_interleave(drafts, output_size=len(output)))
