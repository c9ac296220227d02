"""From a GGUF file to a folder that transformers loads: a Llama of SmolLM2's form, too small to know anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local_models.gguf import GgufError
from local_models.smollm2 import make_smollm2
from tests.gguf_files import Tensor, write_gguf

HIDDEN, INNER, HEADS, KV_HEADS, HEAD = 32, 48, 4, 2, 8
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = ["Hello, world: 12345  it's", "naïve 東京 🙂\n\n\tx", "<|im_start|>user\nhi<|im_end|>\n"]


def byte_letters() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


VOCABULARY = [*SPECIAL, *byte_letters(), "he", "ll", "hell", "hello"]
METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 100000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": VOCABULARY,
    "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(VOCABULARY) - len(SPECIAL)),
    "tokenizer.ggml.merges": ["h e", "l l", "he ll", "hell o"],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
}


def weights() -> dict[str, Any]:
    """Random, by their names in the original."""
    numbers = np.random.default_rng(7)
    shapes = {"model.embed_tokens.weight": (len(VOCABULARY), HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(2):
        for name, shape in {
            "self_attn.q_proj": (HEADS * HEAD, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HEADS * HEAD),
            "mlp.gate_proj": (INNER, HIDDEN),
            "mlp.up_proj": (INNER, HIDDEN),
            "mlp.down_proj": (HIDDEN, INNER),
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return {name: numbers.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def llama_cpp_name(name: str) -> str:
    renamed = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers": "blk"}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for old, new in (renamed | parts).items():
        name = name.replace(old, new)
    return name


def as_llama_cpp_rotates(name: str, weight: Any) -> Any:
    """Rows of queries and keys in the order of llama.cpp's own converter."""
    heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2])
    if heads is None:
        return weight
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2")
    tensors = {
        llama_cpp_name(name): Tensor(weight.shape, 1, as_llama_cpp_rotates(name, weight).tobytes())
        for name, weight in weights().items()
    }
    make_smollm2(folder, write_gguf(folder / "tiny.gguf", METADATA, tensors))
    return folder


def test_the_weights_are_those_of_the_original(folder: Path) -> None:
    from safetensors.numpy import load_file

    made, original = load_file(folder / "model.safetensors"), weights()
    assert made.keys() == original.keys()
    for name, weight in original.items():
        assert np.array_equal(made[name], weight), name


def test_transformers_loads_every_weight_of_the_folder(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert model.config.rope_parameters["rope_theta"] == 100000
    assert model.config.rms_norm_eps == 1e-5
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_sampling_is_as_the_models_authors_ask(folder: Path) -> None:
    settings = json.loads((folder / "generation_config.json").read_text())
    assert settings == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "do_sample": True,
                        "temperature": 0.2, "top_p": 0.9}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_from_its_tokens(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_merges_digits_and_special_tokens_are_split_as_the_original_does(tokenizer: Any) -> None:
    assert tokenizer.tokenize("hello<|im_end|>12") == ["hello", "<|im_end|>", "1", "2"]
    assert tokenizer.encode("<|im_start|>hello<|im_end|>") == [1, VOCABULARY.index("hello"), 2]
    assert tokenizer.decode([1, 2], skip_special_tokens=True) == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"general.architecture": "qwen2"}, "is not SmolLM2.*qwen2"),
        ({"tokenizer.ggml.model": "llama"}, "is not SmolLM2"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    other = write_gguf(tmp_path / "other.gguf", METADATA | changed, {})
    with pytest.raises(GgufError, match=message):
        make_smollm2(tmp_path, other)


def test_a_weight_that_smollm2_lacks_is_refused(tmp_path: Path) -> None:
    bias = {"blk.0.attn_q.bias": Tensor((2, 2), 0, bytes(16))}
    with pytest.raises(GgufError, match=r"blk\.0\.attn_q\.bias is none of SmolLM2's"):
        make_smollm2(tmp_path, write_gguf(tmp_path / "other.gguf", METADATA, bias))
