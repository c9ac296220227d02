"""What a model needs of memory, from its files or from what the hub says of them."""

from typing import Any, NamedTuple

from app.commands.planned.kind import Kind
from app.commands.planned.machine import GIB
from app.commands.planned.source import Source
from app.config.memory_fit import USUAL_WORKING_GIB, WORKING_GIB
from app.config.model_files import SUFFIXES, Unknown, cache_bytes_per_token, weights_bytes
from contract.fields import ConfigError

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
READS_SAFETENSORS = {"vllm", "sentence-transformers", "diffusers", "bark", "vits", "qwen3-tts"}
ON_CPU_WORKING_GIB = {"vllm": 1.6}  # of a process with its libraries; measured with serve_configs/local.yaml
ON_CPU_USUAL_WORKING_GIB = 0.6
SAVED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}  # what is missing has one
FLOATS = {"F64", "F32", "F16", "BF16"}
USUAL_CONTEXT = 4096  # tokens, where a model does not say


class Needs(NamedTuple):
    """What one replica needs."""

    weights_gib: float  # as they are loaded
    working_gib: float
    token_bytes: int | None  # of the KV cache, for one token; None: not known, or there is no cache
    context: int  # tokens that the model was made for
    heads: int


def needs_of(source: Source, kind: Kind, *, float_bytes: int | None, on_gpu: bool) -> Needs:
    """`float_bytes`: of a weight once it is loaded; None: as it was saved. Raises ConfigError."""
    _refuse_pickles(source, kind)
    config = source.json("config.json")
    config = config.get("text_config") or config
    if on_gpu:
        working = WORKING_GIB.get(kind.engine, USUAL_WORKING_GIB)
    else:
        working = ON_CPU_WORKING_GIB.get(kind.engine, ON_CPU_USUAL_WORKING_GIB)
    return Needs(
        _weights(source, None if config.get("quantization_config") else float_bytes) / GIB,
        working,
        _token_bytes(config, float_bytes or 2) if kind.engine == "vllm" else None,
        int(config.get("max_position_embeddings") or USUAL_CONTEXT),
        int(config.get("num_attention_heads") or 1),
    )


def _refuse_pickles(source: Source, kind: Kind) -> None:
    if kind.engine not in READS_SAFETENSORS or source.has(r"(.*/)?[^/]+\.safetensors"):
        return
    pickle = next((path for path in source.sizes if path.endswith(PICKLES)), None)
    raise ConfigError(
        f"{source.name} has no weights as safetensors"
        + (f", and {pickle} is a pickle, which runs code of whoever made it. " if pickle else ". ")
        + "Name a model that has them; where you trust the maker of a pickle, write an entry with `allow: [pickle]`"
    )


def _weights(source: Source, float_bytes: int | None) -> float:
    """Bytes, as loaded."""
    if source.folder is not None:
        try:
            return weights_bytes(source.folder, float_bytes)
        except Unknown:  # voices in folders of their own, an ONNX file in one
            return _of_sizes(source)
    if source.parameters:
        return sum(
            count * (float_bytes if float_bytes and kind in FLOATS else SAVED_BYTES.get(kind, 1))
            for kind, count in source.parameters.items()
        )
    return _of_sizes(source)


def _of_sizes(source: Source) -> float:
    """Bytes of the files that are loaded, as far as names tell: of a pipeline those in its parts' folders."""
    pipeline = "model_index.json" in source.sizes
    for suffix in SUFFIXES:
        files = {path: size for path, size in source.sizes.items() if path.endswith(suffix)}
        parts = {path: size for path, size in files.items() if "/" in path} if pipeline else files
        plain = {path: size for path, size in parts.items() if "." not in path.rpartition("/")[2].removesuffix(suffix)}
        if files:
            return float(sum((plain or parts or files).values()))
    return 0.0


def _token_bytes(config: dict[str, Any], value_bytes: int) -> int | None:
    """Layers that keep a window only count as if they kept all: that is the most it can be."""
    whole = {name: value for name, value in config.items() if name not in ("sliding_window", "layer_types")}
    try:
        return cache_bytes_per_token(whole, value_bytes)
    except Unknown:
        return None
