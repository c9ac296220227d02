"""What the files of a model say of its memory: the size of its weights, and of its KV cache for each token."""

import json
import math
from pathlib import Path
from typing import Any

from contract.project import is_hub_name

# Bytes of a value in safetensors. Floating-point ones may be loaded as another type; the others stay as they are.
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
OTHERS = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # what is missing has one
SUFFIXES = (".safetensors", ".bin", ".pt", ".onnx")  # the first that a folder has
# Of layers whose cache is no row of keys and values for each token.
OTHER_CACHES = ("kv_lora_rank", "mamba_d_state", "ssm_state_size", "linear_num_key_heads", "attention_chunk_size")


class Unknown(ValueError):
    """It is not known. The message says why, and what to do."""


def folder_of(source: str, revision: str | None) -> Path:
    """Where the files are: `source`, or the snapshot of a hub name among what was downloaded. Raises Unknown."""
    if not is_hub_name(source):
        folder = Path(source)
        if not folder.is_dir():
            raise Unknown(f"{source} is not on this machine: make or download it")
        return folder
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - it takes longer than all else here
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError):
        raise Unknown(f"{source} is not on this machine: download it") from None


def weights_bytes(folder: Path, float_bytes: int | None = None, variant: str | None = None) -> int:
    """Bytes of all weights in a model's folder, as they are loaded. Raises Unknown.

    `float_bytes` is the size of a floating-point value once it is loaded; left out: as it was saved. What is no
    safetensors counts as the file's size. `variant` is diffusers' name for one of several sets, such as fp16.
    """
    index = folder / "model_index.json"
    places = [folder]
    if index.is_file():  # of a pipeline; beside its parts such a folder may have all of them once more, in one file
        parts = json.loads(index.read_text())
        places = [folder / name for name, kind in parts.items() if isinstance(kind, list) and kind[0] is not None]
    files = [file for place in places if place.is_dir() for file in _weight_files(place, variant)]
    if not files:
        raise Unknown(f"there are no weights in {folder.name}")
    return sum(_loaded_bytes(file, float_bytes) for file in files)


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    for index in sorted(folder.glob("*.safetensors.index*.json")):
        if (variant or "") == index.name.partition(".index")[2].removesuffix(".json").removeprefix("."):
            files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
            if missing := [file.name for file in files if not file.is_file()]:
                raise Unknown(f"{missing[0]} is missing; download the rest of the model")
            return files
    for suffix in SUFFIXES:
        there = sorted(folder.glob(f"*{suffix}"))
        of_variant = [file for file in there if variant is not None and f".{variant}." in file.name]
        plain = [file for file in there if "." not in file.stem]
        if there:
            return of_variant or plain or there
    return []


def _loaded_bytes(file: Path, float_bytes: int | None) -> int:
    if file.suffix != ".safetensors":
        return file.stat().st_size
    from safetensors import safe_open  # noqa: PLC0415 - most configurations name no folder

    total = 0
    with safe_open(file, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - it is no mapping
            tensor = tensors.get_slice(name)
            kind = tensor.get_dtype()
            each = (float_bytes or FLOATS[kind]) if kind in FLOATS else OTHERS.get(kind, 1)
            total += math.prod(tensor.get_shape()) * each
    return total


def model_config(folder: Path) -> dict[str, Any]:
    """The configuration of a language model; of one with vision, that of its language part. Raises Unknown."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise Unknown(f"there is no config.json in {folder.name}") from None
    return config.get("text_config") or config


def cache_bytes_per_token(config: dict[str, Any], value_bytes: int = 2) -> int:
    """Bytes of the KV cache for one token: 2 x layers x KV heads x head size x bytes of a value. Raises Unknown."""
    layers = config.get("layer_types") or []
    window = config.get("sliding_window") if config.get("use_sliding_window", True) and not layers else None
    if any(config.get(name) for name in OTHER_CACHES) or set(layers) - {"full_attention"} or window:
        raise Unknown("its layers do not all cache every token; vLLM's log says at the start what it takes")
    try:
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        kv_heads = config.get("num_key_value_heads") or heads
        return int(2 * config["num_hidden_layers"] * kv_heads * size * value_bytes)
    except KeyError as error:
        raise Unknown(f"its config.json has no {error.args[0]}") from None
