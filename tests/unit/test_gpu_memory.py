"""What models need of a GPU's memory: read from their files, declared, or said to be unknown; and what fits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.__main__ import main
from app.commands import check
from app.config.gpus import memory_gib
from app.config.memory_fit import demand, verdict
from app.config.model_entry import ModelEntry
from app.config.model_files import Unknown, cache_bytes_per_token, model_config, weights_bytes
from app.config.service import parse_config, read_serve_config
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args
from tests.unit.test_gpu_install import nvidia_smi

QWEN3_4B = {"num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
CONFIGS = PROJECT_FOLDER / "serve_configs"
SMALL, ONE_CHAT = CONFIGS / "small.yaml", CONFIGS / "one-gpu-chat.yaml"


def weights(file: Path, floats: int = 1000, integers: int = 0) -> None:
    """A file with so many numbers in float32, and so many in int8."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.zeros((floats // 10, 10), "float32"), "b": np.zeros(integers, "int8")}, file)


def entry(**changes: Any) -> ModelEntry:
    plain = {"id": "a", "task": "chat", "engine": "vllm", "source": "org/a", "resources": {"num_gpus": 1}}
    return ModelEntry.model_validate(plain | changes)


@pytest.mark.parametrize(("float_bytes", "expected"), [(None, 4 * 1000 + 7), (2, 2 * 1000 + 7)])
def test_weights_count_as_they_are_loaded_and_integers_as_they_were_saved(
    tmp_path: Path, float_bytes: int | None, expected: int
) -> None:
    weights(tmp_path / "model.safetensors", integers=7)
    assert weights_bytes(tmp_path, float_bytes) == expected


def test_of_several_copies_of_the_weights_one_counts(tmp_path: Path) -> None:
    weights(tmp_path / "model.safetensors", 100)
    weights(tmp_path / "model.fp16.safetensors", 200)
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(5000))
    assert weights_bytes(tmp_path) == 400
    assert weights_bytes(tmp_path, variant="fp16") == 800


def test_an_index_names_the_files_and_one_that_is_missing_makes_the_size_unknown(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("ab", names, strict=True))})
    )
    weights(tmp_path / names[0], 100)
    weights(tmp_path / "consolidated.safetensors", 9000)
    with pytest.raises(Unknown, match=r"model-00002-of-00002\.safetensors is missing"):
        weights_bytes(tmp_path)
    weights(tmp_path / names[1], 200)
    assert weights_bytes(tmp_path) == 1200


def test_a_pipeline_has_the_weights_of_the_parts_that_it_names(tmp_path: Path) -> None:
    parts = {"_class_name": "P", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"], "safety_checker": [None, None]}
    (tmp_path / "model_index.json").write_text(json.dumps(parts))
    for name in ("unet", "vae", "safety_checker", "refiner"):
        weights(tmp_path / name / "diffusion_pytorch_model.safetensors", 100)
    weights(tmp_path / "all-in-one.safetensors", 9000)
    assert weights_bytes(tmp_path, 2) == 2 * 200


def test_what_is_no_safetensors_counts_as_its_file(tmp_path: Path) -> None:
    with pytest.raises(Unknown, match="there are no weights"):
        weights_bytes(tmp_path)
    (tmp_path / "model.bin").write_bytes(bytes(1234))
    assert weights_bytes(tmp_path) == 1234


def test_a_token_s_cache_is_keys_and_values_of_every_layer_and_head() -> None:
    assert cache_bytes_per_token(QWEN3_4B) == 2 * 36 * 8 * 128 * 2 == 147_456
    assert cache_bytes_per_token(QWEN3_4B, 1) == 147_456 // 2
    old = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
    assert cache_bytes_per_token(old) == 2 * 2 * 4 * 16 * 2


@pytest.mark.parametrize(
    "more",
    [
        {"kv_lora_rank": 512},
        {"sliding_window": 4096},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"linear_num_key_heads": 16},
    ],
    ids=["latent attention", "a window", "some layers with a window", "linear attention"],
)
def test_a_cache_of_another_kind_is_unknown_and_not_guessed(more: dict[str, Any]) -> None:
    with pytest.raises(Unknown, match="do not all cache every token"):
        cache_bytes_per_token(QWEN3_4B | more)


def test_a_configuration_that_lacks_a_number_names_it() -> None:
    with pytest.raises(Unknown, match=r"config\.json has no num_attention_heads"):
        cache_bytes_per_token({"num_hidden_layers": 2})


def test_a_window_that_is_switched_off_and_full_layers_are_no_other_kind() -> None:
    off = {"sliding_window": 4096, "use_sliding_window": False}
    full = {"layer_types": ["full_attention"] * 36, "sliding_window": 4096}
    assert cache_bytes_per_token(QWEN3_4B | off) == cache_bytes_per_token(QWEN3_4B | full) == 147_456


def test_a_model_with_vision_has_the_cache_of_its_language_part(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": QWEN3_4B, "num_hidden_layers": 1}))
    assert cache_bytes_per_token(model_config(tmp_path)) == 147_456


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A language model of 1 MiB in bfloat16, whose cache takes 1 KiB a token."""
    weights(tmp_path / "model.safetensors", 2**19 // 10 * 10)
    config = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return tmp_path


def test_a_folder_says_all_that_a_language_model_needs(folder: Path) -> None:
    needed = demand(entry(source=str(folder), memory={"working_gib": 0.5}))
    assert (needed.unknown, needed.context) == ("", 4096)
    assert needed.weights == pytest.approx(2**20 / 2**30, rel=1e-4)
    assert needed.sequence == 4096 * 1024 / 2**30
    assert needed.total == pytest.approx(0.5 + (2**20 + 2**22) / 2**30, rel=1e-4)


def test_what_is_declared_comes_before_what_is_found(folder: Path) -> None:
    memory = {"weights_gib": 3, "kv_cache_bytes_per_token": 2**20}
    needed = demand(entry(source=str(folder), memory=memory, engine_kwargs={"max_model_len": "2K"}))
    assert (needed.weights, needed.sequence, needed.context) == (3, 2.0, 2048)


def test_several_gpus_share_the_weights_and_the_cache(folder: Path) -> None:
    two = {"resources": {"num_gpus": 2}, "engine_kwargs": {"tensor_parallel_size": 2}}
    alone, shared = demand(entry(source=str(folder))), demand(entry(source=str(folder), **two))
    assert alone.weights is not None
    assert (shared.weights, shared.working) == (alone.weights / 2, alone.working)


def test_what_is_not_here_is_unknown_and_says_what_to_do() -> None:
    needed = demand(entry(source="nobody/nothing-here", revision="0" * 40))
    assert needed.total is None
    assert needed.unknown.startswith(
        "nobody/nothing-here is not on this machine: download it, or give memory.weights_gib"
    )
    assert verdict(entry(), needed, 80).fits is None


@pytest.mark.parametrize(
    ("engine", "task", "options"),
    [
        ("diffusers", "images", {"offload": "model"}),
        ("diffusers", "images", {"quantization": {"backend": "torchao"}}),
        ("faster-whisper", "transcriptions", {"compute_type": "int8"}),
    ],
)
def test_an_option_that_changes_what_is_loaded_makes_files_useless(
    folder: Path, engine: str, task: str, options: dict[str, Any]
) -> None:
    needed = demand(entry(engine=engine, task=task, source=str(folder), engine_kwargs=options))
    assert needed.weights is None
    assert f"engine_kwargs.{next(iter(options))} changes what is loaded" in needed.unknown


def test_an_engine_that_loads_one_file_of_several_is_asked_for_its_size(folder: Path) -> None:
    needed = demand(entry(engine="kokoro", task="speech", source=str(folder), engine_kwargs={}))
    assert needed.weights is None
    assert needed.unknown == "the folder of a kokoro model has more than what is loaded, or give memory.weights_gib"


DECLARED = {"weights_gib": 8, "kv_cache_bytes_per_token": 2**17, "working_gib": 2}


@pytest.mark.parametrize(
    ("gpu", "options", "fits", "reason"),
    [
        (20.0, {"gpu_memory_utilization": 0.9}, True, "cache of 65,536 tokens, 8.0 x the context"),
        (11.0, {"gpu_memory_utilization": 0.9}, False, "1.10 GiB too much"),
        (20.0, {"kv_cache_memory_bytes": 2**30}, True, "cache of 8,192 tokens, 1.0 x the context"),
        (20.0, {"kv_cache_memory_bytes": "512M"}, False, "its cache has 4,096 tokens, and one request may have 8,192"),
    ],
    ids=["what is left is cache", "too small", "a cache of its own size", "a cache under the context"],
)
def test_a_language_model_fits_where_one_request_of_its_whole_context_does(
    gpu: float, options: dict[str, Any], fits: bool, reason: str
) -> None:
    model = entry(memory=DECLARED, engine_kwargs=options | {"max_model_len": 8192})
    found = verdict(model, demand(model), gpu)
    assert (found.fits, found.reason) == (fits, reason)


def test_a_share_of_a_gpu_has_that_part_of_its_memory() -> None:
    model = entry(engine="diffusers", task="images", resources={"num_gpus": 0.25}, memory=DECLARED)
    needed = demand(model)
    assert (needed.sequence, needed.total) == (0.0, 10.0)
    assert verdict(model, needed, 40.0) == (10.0, True, "")
    assert verdict(model, needed, 39.0).fits is False


def test_a_cache_of_a_fixed_size_shares_a_gpu_only_where_the_weights_are_declared() -> None:
    """The other case is in test_resources.py."""
    options = {"gpu_memory_utilization": 0.5, "kv_cache_memory_bytes": 2**30}
    model = entry(resources={"num_gpus": 0.5}, memory={"weights_gib": 1}, engine_kwargs=options)
    assert parse_config(config_args(models=[model.model_dump()], keys=KEYS)).models[0].memory.weights_gib == 1


@pytest.mark.parametrize("gpu", ["L4", "A10G", "GeForce-RTX-3090", "GeForce-RTX-4090", "L40S"])
def test_small_yaml_fits_into_24_gb_and_its_shares_are_one_gpu(gpu: str) -> None:
    _, config = read_serve_config(SMALL)
    memory = memory_gib(gpu)
    assert memory is not None
    sharing = [model for model in config.models if model.resources.num_gpus]
    needed = {model.id: demand(model) for model in sharing}
    found = {model.id: verdict(model, needed[model.id], memory) for model in sharing}
    assert {one: verdict.fits for one, verdict in found.items()} == dict.fromkeys(found, True)
    assert {model.task for model in sharing} == {"chat", "embeddings", "transcriptions", "images"}
    assert sum(model.resources.num_gpus for model in sharing) == pytest.approx(1)
    totals = [demand.total for demand in needed.values() if demand.total is not None]
    assert len(totals) == len(sharing)
    assert sum(totals) <= memory
    assert all(model.scale.max_replicas == 1 for model in config.models)


@pytest.mark.parametrize("path", [SMALL, ONE_CHAT], ids=lambda path: path.name)
def test_the_files_for_one_gpu_pin_every_model_and_take_the_local_key_on_loopback_only(path: Path) -> None:
    content, config = read_serve_config(path)
    assert [name for model in config.models for name in model.unpinned()] == []
    assert all(not model.allow for model in config.models)
    assert content["http_options"]["host"] == "127.0.0.1"


def test_check_adds_up_for_the_gpu_that_the_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(SMALL)]) == 0
    said = capsys.readouterr().out
    assert "L4, 22.03 GiB. In GiB, for each GPU of a replica:" in said
    (line,) = [line for line in said.splitlines() if line.startswith("qwen3-4b")]
    assert line.split()[1:7] == ["0.5", "7.49", "2.00", "1.50", "10.99", "11.02"]
    assert line.endswith("fits: cache of 14,563 tokens, 1.8 x the context")
    assert "Those that share: 21.88 of 1 x 22.03 GiB." in said


@pytest.mark.parametrize("gpu", ["T4", "16"])
def test_check_fails_by_name_where_the_given_gpu_is_too_small(capsys: pytest.CaptureFixture[str], gpu: str) -> None:
    assert main(["check", str(SMALL), "--gpu", gpu]) == check.NO_FIT
    said = capsys.readouterr().out
    assert "does not fit: " in next(line for line in said.splitlines() if line.startswith("qwen3-4b"))


def test_check_refuses_a_gpu_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(SMALL), "--gpu", "inf"]) == 2
    assert main(["check", str(SMALL), "--gpu", "Voodoo2"]) == 2
    assert "--gpu: Voodoo2 is not known; give one of T4, L4" in capsys.readouterr().err


def test_where_a_file_names_no_gpu_that_of_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check.gpu_here.cache_clear()
    assert main(["check", str(ONE_CHAT)]) == 0
    assert "No GPU is named, and none is here: its memory is not known; give --gpu" in capsys.readouterr().out
    monkeypatch.setenv("PATH", f"{nvidia_smi(tmp_path, 'NVIDIA L4, 580.82.07, 8.9, 23034, 475')}:/usr/bin:/bin")
    check.gpu_here.cache_clear()
    assert main(["check", str(ONE_CHAT)]) == 0
    assert "A GPU with 22.03 GiB" in capsys.readouterr().out
    check.gpu_here.cache_clear()


def test_check_says_nothing_of_memory_where_nothing_runs_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(CONFIGS / "tiny.yaml"), "--gpu", "L4"]) == 0
    assert "GiB" not in capsys.readouterr().out


KEYS = [{"id": "a" * 12, "sha256": "0" * 64}]
