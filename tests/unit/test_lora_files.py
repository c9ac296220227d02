"""Whether a LoRA adapter's files fit a model: what is refused, and by which words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from deployments.vllm.lora_files import CONFIG, WEIGHTS, MisfitError, check, shapes_of
from local_models.adapter import MODULES, RANK, make_adapter
from local_models.chat import LAYERS

MAX_RANK = 16


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    make_adapter(folder)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Weights of the shapes that pocket-chat has."""
    return made_model(tmp_path / "base", LAYERS)


def made_model(folder: Path, layers: int, prefix: str = "model.", dtype: Any = np.float32) -> Path:
    folder.mkdir()
    shapes = {f"{prefix}layers.{n}.{module}.weight": shape for n in range(layers) for module, shape in MODULES.items()}
    save_file({name: np.zeros(shape, dtype) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


def misfit(adapter: Path, base: Path, max_rank: int = MAX_RANK) -> str:
    with pytest.raises(MisfitError) as caught:
        check(adapter, shapes_of(base), max_rank)
    assert str(adapter.parent) not in str(caught.value), "a path"
    return str(caught.value)


def changed(adapter: Path, **fields: Any) -> Path:
    config = json.loads((adapter / CONFIG).read_text()) | fields
    (adapter / CONFIG).write_text(json.dumps(config))
    return adapter


def test_an_adapter_fits_the_model_that_it_was_made_for(adapter: Path, base: Path) -> None:
    check(adapter, shapes_of(base), MAX_RANK)
    check(adapter, shapes_of(base), RANK)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_files_that_cannot_be_read_are_named_as_such(adapter: Path, base: Path, file: str) -> None:
    (adapter / file).unlink()
    (adapter / file).symlink_to("x" * 300)  # longer than a file's name may be: neither there nor missing
    assert misfit(adapter, base) == "its files cannot be read"


def test_it_fits_that_model_within_another_class(adapter: Path, tmp_path: Path) -> None:
    """A model with vision has its language part under another name."""
    check(adapter, shapes_of(made_model(tmp_path / "vision", LAYERS, "model.language_model.")), MAX_RANK)


def test_a_rank_over_the_bound_is_refused(adapter: Path, base: Path) -> None:
    assert misfit(adapter, base, RANK - 1) == "its rank is 4, and max_lora_rank is 3; raise it in engine_kwargs"
    assert misfit(changed(adapter, rank_pattern={"q_proj": 64}), base).startswith("its rank is 64")


def test_layers_that_the_model_does_not_have_are_refused(adapter: Path, tmp_path: Path) -> None:
    """vLLM leaves them out."""
    message = misfit(adapter, made_model(tmp_path / "short", LAYERS - 1))
    assert message.startswith("it was made for another model: the model has no layers.1.mlp.down_proj; ")
    assert message.endswith(f", and {len(MODULES) - 3} more")


@pytest.mark.parametrize("narrower", [True, False])
def test_weights_of_another_width_are_refused(base: Path, tmp_path: Path, *, narrower: bool) -> None:
    """vLLM copies what is narrower into a corner."""
    folder = tmp_path / "other"
    folder.mkdir()
    width = 32 if narrower else 128
    weights = {"lora_A": np.zeros((RANK, width), np.float32), "lora_B": np.zeros((64, RANK), np.float32)}
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{name}.{side}.weight": value for side, value in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": RANK}))
    assert misfit(folder, base) == (
        f"it was made for another model: layers.0.self_attn.q_proj takes 64 where the adapter has {width}"
    )


def test_a_model_whose_weights_are_packed_is_left_to_vllm(adapter: Path, tmp_path: Path) -> None:
    check(adapter, shapes_of(made_model(tmp_path / "packed", LAYERS - 1, dtype=np.uint8)), MAX_RANK)
    check(adapter, {}, MAX_RANK)


def test_a_pickle_is_never_an_adapter(adapter: Path, base: Path) -> None:
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    assert misfit(adapter, base) == (
        "there is no adapter_model.safetensors; its weights must be safetensors, as PEFT saves them"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "adapter_config.json cannot be read: it is no JSON"),
        (b"[]", "adapter_config.json is not of a LoRA adapter; only these are served"),
        (b'{"peft_type": "IA3", "r": 4}', "adapter_config.json is not of a LoRA adapter; only these are served"),
        (b'{"r": "4"}', "`r` or `rank_pattern` in adapter_config.json is no rank of 1 or more"),
        (b"{}", "`r` or `rank_pattern` in adapter_config.json is no rank of 1 or more"),
    ],
)
def test_a_wrong_configuration_is_refused(adapter: Path, base: Path, content: bytes, message: str) -> None:
    (adapter / CONFIG).write_bytes(content)
    assert misfit(adapter, base) == message


def test_a_missing_configuration_is_refused(adapter: Path, base: Path) -> None:
    (adapter / CONFIG).unlink()
    assert misfit(adapter, base) == "there is no adapter_config.json"


@pytest.mark.parametrize("kept", [0, 7, 1000])
def test_weights_that_are_cut_off_are_refused(adapter: Path, base: Path, kept: int) -> None:
    whole = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(whole[:kept])
    assert misfit(adapter, base) == ("adapter_model.safetensors cannot be read: it is cut off, or no safetensors")
