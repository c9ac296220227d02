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


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def prompt(tokenizer: Any, *messages: dict[str, Any], tools: list[Any] | None = None) -> str:
    return tokenizer.apply_chat_template(list(messages), tools=tools, add_generation_prompt=True, tokenize=False)


def called(city: str) -> dict[str, Any]:
    """A call as vLLM hands it to a template: with its arguments as an object."""
    return {"type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}


def test_without_tools_the_prompt_is_the_originals(tokenizer: Any) -> None:
    assert prompt(tokenizer, {"role": "user", "content": "Hi"}) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_prompt_takes_the_place_of_the_originals(tokenizer: Any, role: str) -> None:
    given = prompt(tokenizer, {"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"})
    assert given.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>")


def test_several_turns_and_content_in_parts(tokenizer: Any) -> None:
    parts = [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]
    given = prompt(
        tokenizer,
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": parts},
    )
    assert given.endswith(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tools_stand_in_the_system_prompt_behind_the_clients_own(tokenizer: Any) -> None:
    given = prompt(
        tokenizer, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, tools=[WEATHER]
    )
    system = given.removeprefix("<|im_start|>system\n").partition("<|im_end|>")[0]
    assert system.startswith("Be brief.\n\nYou may call these functions.")
    shown = system.partition("<tools>\n")[2].partition("\n</tools>")[0]
    assert json.loads(shown) == WEATHER["function"]
    assert given.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_examples_of_calls_and_of_answers_stand_between_the_tools_and_the_conversation(tokenizer: Any) -> None:
    given = prompt(tokenizer, {"role": "user", "content": "Hi"}, tools=[WEATHER])
    answers = given.split("<|im_start|>assistant\n")[1:-1]
    calls = [answer for answer in answers if answer.startswith("<tool_call>\n")]
    assert 0 < len(calls) < len(answers)
    for answer in calls:
        written = json.loads(answer.removeprefix("<tool_call>\n").removesuffix("<|im_end|>\n<|im_start|>user\n")
                             .partition("\n</tool_call>")[0])  # fmt: skip
        assert written.keys() == {"name", "arguments"}


def test_calls_and_their_results_are_shown_as_the_examples_are(tokenizer: Any) -> None:
    given = prompt(
        tokenizer,
        {"role": "user", "content": "Oslo and Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [called("Oslo"), called("Rome")]},
        {"role": "tool", "tool_call_id": "1", "content": '{"celsius": 3}'},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "19 °C"}]},
        tools=[WEATHER],
    )
    assert "<tools>" not in given, "after a result there is an answer to give"
    assert given.endswith(
        "<|im_start|>user\nOslo and Rome?<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>\n'
        '<|im_start|>tool\n{"celsius": 3}<|im_end|>\n<|im_start|>tool\n19 °C<|im_end|>\n<|im_start|>assistant\n'
    )
