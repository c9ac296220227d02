"""The KV cache of a token, as `python -m app check` adds it up, against what vLLM itself reserves for it."""

import pytest

from app.config.model_files import cache_bytes_per_token


@pytest.mark.parametrize("value", ["bfloat16", "float32", "float8_e4m3fn"])
@pytest.mark.parametrize(("layers", "kv_heads", "size"), [(36, 8, 128), (28, 8, 128), (2, 1, 32)])
def test_a_token_takes_what_vllm_reserves(layers: int, kv_heads: int, size: int, value: str) -> None:
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    block = 16
    dtype = getattr(torch, value)
    spec = FullAttentionSpec(block_size=block, num_kv_heads=kv_heads, head_size=size, dtype=dtype)
    config = {
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": kv_heads,
        "head_dim": size,
    }
    assert cache_bytes_per_token(config, dtype.itemsize) * block == spec.page_size_bytes * layers
