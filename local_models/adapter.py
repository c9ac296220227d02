"""`pocket-lora`: a LoRA adapter of `pocket-chat` in PEFT's format, with random weights.

They are as large as the model's own, so that what it answers differs from what the model does.
"""

import json
from pathlib import Path

import numpy as np

from local_models.chat import HIDDEN_SIZE, INTERMEDIATE_SIZE, KEY_SIZE, LAYERS, SEED

# module -> (outputs, inputs)
MODULES = {
    "self_attn.q_proj": (HIDDEN_SIZE, HIDDEN_SIZE),
    "self_attn.k_proj": (KEY_SIZE, HIDDEN_SIZE),
    "self_attn.v_proj": (KEY_SIZE, HIDDEN_SIZE),
    "self_attn.o_proj": (HIDDEN_SIZE, HIDDEN_SIZE),
    "mlp.gate_proj": (INTERMEDIATE_SIZE, HIDDEN_SIZE),
    "mlp.up_proj": (INTERMEDIATE_SIZE, HIDDEN_SIZE),
    "mlp.down_proj": (HIDDEN_SIZE, INTERMEDIATE_SIZE),
}
RANK = 4
ALPHA = 8
SPREAD = 0.1  # of the weights; those of the model itself have 0.02


def make_adapter(folder: Path, seed: int = SEED, rank: int = RANK, modules: tuple[str, ...] = tuple(MODULES)) -> None:
    """Write an adapter into `folder`; the same bytes for the same arguments."""
    from safetensors.numpy import save_file

    numbers = np.random.default_rng(seed)
    weights = {}
    for layer in range(LAYERS):
        for module in modules:
            outputs, inputs = MODULES[module]
            name = f"base_model.model.model.layers.{layer}.{module}"
            for side, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
                weights[f"{name}.{side}.weight"] = numbers.normal(0, SPREAD, shape).astype(np.float32)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "pocket-chat",
        "r": rank,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(module.rpartition(".")[2] for module in modules),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
