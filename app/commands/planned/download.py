"""Fetches a model from the hub before the service starts, with its progress shown: replicas would do so in silence."""

from app.commands.planned.kind import Kind
from app.commands.planned.source import HUB_NAME, Source
from contract.fields import ConfigError

# What is loaded, of repositories that have the same weights several times.
WITHOUT = ["original/*", "*.gguf", "*.msgpack", "*.h5", "*.ot", "*.onnx", "onnx/*", "openvino/*", "coreml/*"]
PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt", "consolidated*"]
FETCHED_HERE = {"vllm", "sentence-transformers", "faster-whisper"}  # others choose files when they load


def download(source: Source, kind: Kind) -> None:
    """Have the model's files in the hub's folder on this machine. Raises ConfigError."""
    if source.folder is not None or kind.engine not in FETCHED_HERE or not HUB_NAME.fullmatch(source.name):
        return
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - it takes longer than all else here

    without = WITHOUT if kind.engine == "faster-whisper" else [*WITHOUT, *PICKLES]
    try:
        snapshot_download(source.name, revision=source.revision, ignore_patterns=without)
    except Exception as error:  # of several libraries
        raise ConfigError(f"{source.name} could not be downloaded: {error}. What came is kept: try again") from None
