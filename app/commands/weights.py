"""Fetches weights from the hub before a service starts: replicas would do so in silence."""

import re
from collections.abc import Collection

from app.config.model_entry import ModelEntry
from contract.fields import ConfigError

HUB_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)
# What is loaded, of repositories that have the same weights several times.
WITHOUT = ["original/*", "*.gguf", "*.msgpack", "*.h5", "*.ot", "*.onnx", "onnx/*", "openvino/*", "coreml/*"]
PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt", "consolidated*"]
ALL = None
# Engine -> the files that it loads; others choose when they load.
LOADED = {
    "vllm": ALL,
    "sentence-transformers": ALL,
    "faster-whisper": ALL,
    "diffusers": ["model_index.json", "*/*"],  # beside the parts' folders such a repository may have all in one file
}
READS_BIN = "faster-whisper"  # its .bin is no pickle


def fetch_weights(name: str, revision: str | None, engine: str, allow: Collection[str] = ()) -> bool:
    """Have a model's files in the hub's folder on this machine. False where the engine chooses them when it loads.

    Raises ConfigError.
    """
    if engine not in LOADED or not HUB_NAME.fullmatch(name):
        return False
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - it takes longer than all else here

    without = WITHOUT if engine == READS_BIN or "pickle" in allow else [*WITHOUT, *PICKLES]
    try:
        snapshot_download(name, revision=revision, allow_patterns=LOADED[engine], ignore_patterns=without)
    except Exception as error:  # of several libraries
        raise ConfigError(f"{name} could not be downloaded: {error}. What came is kept: try again") from None
    return True


def fetch_models(models: Collection[ModelEntry]) -> bool:
    """Have the weights of all models here, with a line of each. Returns whether every download went well."""
    good = True
    for model in models:
        for name, revision in model.hub_names():
            engine = model.engine if name == model.source else "vllm"  # a draft model has files of the same kind
            print(f"{model.id}: {name} ...", flush=True)
            try:
                fetched = fetch_weights(name, revision, engine, model.allow)
                print("  is here." if fetched else f"  is left to the replica: {engine} chooses files when it loads.")
            except ConfigError as error:
                print(f"  {error}")
                good = False
    return good
