"""`smollm2-135m-instruct`: SmolLM2-135M-Instruct of Hugging Face, from the GGUF file of llama.cpp to a folder that
transformers and vLLM load.

What GGUF leaves out (the tokenizer's splitting, the names of the weights) is that of the original,
https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct. The chat template is our own: the original knows no tools.
"""

import json
from pathlib import Path
from typing import Any

from local_models.gguf import Gguf, GgufError

# As its authors ask it: without a temperature of the client's, vLLM takes these.
SAMPLING = {"temperature": 0.2, "top_p": 0.9}
CONTROL = 3  # the kind of a token that stands for no text
OUTER_WEIGHTS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
LAYER_WEIGHTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


def make_smollm2(folder: Path, gguf: Path) -> None:
    """Write the model, its tokenizer, its configuration and our chat template into `folder` (270 MB).

    The weights become float16, which holds what their 4 bits mean to within its own rounding. Raises GgufError where
    the file is not a small Llama with the vocabulary of GPT-2's kind and tied embeddings.
    """
    source = Gguf(gguf)
    kinds = {name: source.metadata.get(name) for name in ("general.architecture", "tokenizer.ggml.model")}
    if list(kinds.values()) != ["llama", "gpt2"]:
        raise GgufError(f"{gguf.name} is not SmolLM2: {kinds}")
    _write_weights(folder, source)
    _write_tokenizer(folder, source.metadata)
    _write_json(folder / "config.json", _config(source.metadata))
    _write_json(folder / "generation_config.json", _token_ids(source.metadata) | {"do_sample": True} | SAMPLING)
    template = Path(__file__).with_name("smollm2_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template)


def _write_weights(folder: Path, source: Gguf) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    heads = source.metadata["llama.attention.head_count"], source.metadata["llama.attention.head_count_kv"]
    state: dict[str, Any] = {}
    for name in source.names:
        weight = source.tensor(name)
        if name.endswith(("attn_q.weight", "attn_k.weight")):
            weight = _in_halves(weight, heads["attn_k" in name])
        state[_weight_name(name)] = weight.astype(np.float16)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _weight_name(name: str) -> str:
    """transformers' name of llama.cpp's weight."""
    if name in OUTER_WEIGHTS:
        return OUTER_WEIGHTS[name]
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in LAYER_WEIGHTS:
            return f"model.layers.{layer}.{LAYER_WEIGHTS[part]}.weight"
    raise GgufError(f"the weight {name} is none of SmolLM2's")


def _in_halves(weight: Any, heads: int) -> Any:
    """Rows of a query's or a key's heads as transformers rotates them, in halves; llama.cpp rotates neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _token_ids(metadata: dict[str, Any]) -> dict[str, int]:
    end = metadata["tokenizer.ggml.eos_token_id"]
    return {"bos_token_id": metadata["tokenizer.ggml.bos_token_id"], "eos_token_id": end, "pad_token_id": end}


def _config(metadata: dict[str, Any]) -> dict[str, Any]:
    return _token_ids(metadata) | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": round(metadata["llama.attention.layer_norm_rms_epsilon"], 9),  # it was a float32
        "rope_theta": metadata["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "dtype": "float16",
    }


def _write_tokenizer(folder: Path, metadata: dict[str, Any]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = metadata["tokenizer.ggml.tokens"]
    control = [token for token, kind in zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True)
               if kind == CONTROL]  # fmt: skip
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    bpe = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    bpe.save(str(folder / "tokenizer.json"))
    names = {f"{name}_token": tokens[metadata[f"tokenizer.ggml.{name}_token_id"]] for name in ("bos", "eos")}
    config = names | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": names["eos_token"],
        "unk_token": tokens[metadata.get("tokenizer.ggml.unknown_token_id", 0)],
        "model_max_length": metadata["llama.context_length"],
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
