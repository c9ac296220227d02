"""What `make gpu-lock-check` installs and looks for; it runs by itself, since it downloads gigabytes."""

import re

import pytest

from cluster.check_gpu_lock import OF_THE_IMAGE, _is_fault, names_imported
from contract.project import PROJECT_FOLDER


def test_it_installs_the_locks_of_the_image() -> None:
    dockerfile = (PROJECT_FOLDER / "cluster" / "Dockerfile").read_text()
    _, _, of_gpus = dockerfile.partition(" AS gpu-packages\n")
    assert tuple(re.findall(r"-r ([\w-]+)\.txt", of_gpus)) == OF_THE_IMAGE


def test_it_imports_what_the_sources_import_wherever_they_do() -> None:
    found = names_imported()
    assert found[""]["vllm.engine.arg_utils"] == ["AsyncEngineArgs"]  # in a function
    assert found[""]["faster_whisper"] == ["WhisperModel", "BatchedInferencePipeline"]
    assert list(found["qwen-tts"]) == ["qwen_tts"]
    # Of the two places of a class, the one that this version of vLLM has; the other is tried before.
    assert "vllm.entrypoints.launchers.cli_args" in found[""]
    assert "vllm.entrypoints.common.cli_args" not in found[""]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("\tlibcuda.so.1 => not found", False),
        ("\tlibcudart.so.12 => not found", True),
        ("undefined symbol: cuMemCreate\t(x.so)", False),
        ("undefined symbol: PyObject_Call\t(x.so)", False),
        ("undefined symbol: cublasCreate_v2\t(x.so)", True),
        ("undefined symbol: _ZN2at4_ops5addmmE\t(x.so)", True),
        ("\tlibtorch.so => /x/libtorch.so (0x00007f)", False),
    ],
)
def test_only_what_the_driver_and_the_interpreter_bring_may_be_missing(line: str, wrong: bool) -> None:
    assert _is_fault(line) is wrong
