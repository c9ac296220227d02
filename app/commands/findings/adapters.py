"""LoRA adapters on this machine that do not fit their models: their files are read, and nothing is loaded."""

from collections.abc import Iterator
from pathlib import Path

from app.commands.findings.asked_module import ask
from app.commands.findings.finding import Finding
from app.config.model_files import Unknown, folder_of
from app.config.service import Config

SECONDS = 120  # a thousand adapters take a few
USUAL_MAX_RANK = 16  # vLLM's


def adapter_findings(config: Config) -> Iterator[Finding]:
    """Each by its id. One that is not on this machine is left out."""
    asked = {}
    for model in config.models:
        for adapter in model.adapters:
            if (folder := _folder(adapter.served().source, adapter.revision)) is not None:
                base, rank = _folder(model.location(), model.revision), model.engine_kwargs.get("max_lora_rank")
                asked[adapter.id] = [folder, base, rank or USUAL_MAX_RANK]
    if not asked:
        return
    answer = ask("deployments.vllm.lora_check", list(asked.values()), SECONDS)
    if answer is None:
        yield Finding("", "The adapters were not held against their models: their files cannot be read here.",
                      is_fault=False)  # fmt: skip
        return
    for adapter_id, misfit in zip(asked, answer, strict=True):
        if misfit:
            yield Finding(adapter_id, f"the adapter does not fit its model: {misfit}")


def _folder(source: str, revision: str | None) -> str | None:
    """None where it is not on this machine."""
    try:
        folder = folder_of(source, revision)
    except Unknown:
        return None
    return str(folder) if Path(folder).is_dir() else None
