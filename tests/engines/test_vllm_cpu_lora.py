"""What a plugin of ours does to vLLM's LoRA on CPUs: it changes the tokens of adapters, and no others."""

from types import SimpleNamespace

import pytest
import torch

from deployments.vllm.cpu_lora import keeping_others


def add_index(self: SimpleNamespace, y: torch.Tensor, more: int) -> None:
    """As vLLM does: to every row, whatever its index."""
    y.view(-1, y.shape[-1])[:] += self.indices.unsqueeze(1) + more
    self.calls += 1


@pytest.mark.parametrize(
    ("indices", "expected", "calls"),
    [
        ([0, 1, 2], [10, 11, 12], 1),
        ([-1, 1, -1], [0, 11, 0], 1),
        ([1, -1, 0], [11, 0, 10], 1),
        ([-1, -1, -1], [0, 0, 0], 0),
    ],
)
@pytest.mark.parametrize("shape", [(3, 2), (1, 3, 2)])
def test_only_rows_of_an_adapter_are_changed(
    indices: list[int], expected: list[int], calls: int, shape: tuple[int, ...]
) -> None:
    wrapper, y = SimpleNamespace(indices=torch.tensor(indices), calls=0), torch.zeros(shape)
    keeping_others(add_index, "indices")(wrapper, y, more=10)
    assert y.view(3, 2).tolist() == [[one, one] for one in expected]
    assert wrapper.calls == calls


def test_the_plugin_is_in_the_place_of_vllm_s_own() -> None:
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    for name in ("add_lora_linear", "add_lora_embedding", "add_expand", "add_lora_logits"):
        assert getattr(PunicaWrapperCPU, name).__module__ == "deployments.vllm.cpu_lora"
