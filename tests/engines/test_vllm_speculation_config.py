"""`speculation:` against vLLM's own configuration classes: nothing is loaded, and no model runs."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from contract.project import PROJECT_FOLDER
from contract.speculation import METHODS, DFlash, DraftModel, Eagle3, Method, Ngram, Suffix
from deployments.vllm.arguments import EngineArgumentError
from deployments.vllm.internals.speculation import check_package, facts_of, is_there
from deployments.vllm.speculation_choice import Facts, choose, falling

POCKET = PROJECT_FOLDER / "local_models" / "pocket-chat"
# What makes the configuration of pocket-chat one of another kind.
OWN_HEAD = {
    "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "num_nextn_predict_layers": 1,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
EAGLE3_HEAD = {"architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 384}
DFLASH_DRAFT = {
    "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "num_hidden_layers": 1, "block_size": 4,
    "dflash_config": {"mask_token_id": 0, "target_layer_ids": [0, 1]},
}  # fmt: skip


def folder(place: Path, changes: dict[str, Any]) -> str:
    """A model without weights: pocket-chat's tokenizer, and its configuration with `changes`."""
    shutil.copytree(POCKET, place, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((POCKET / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | changes))
    return str(place)


def arguments_of(model: str) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs

    return AsyncEngineArgs(
        model=model, dtype="float32", max_model_len=512, max_num_seqs=16, enforce_eager=True,
        kv_cache_memory_bytes=2**26,
    )  # fmt: skip


def taken(model: str, method: Method) -> Any:
    """What vLLM makes of the method for the model."""
    arguments = arguments_of(model)
    arguments.speculative_config = method.speculative_config()
    return arguments.create_engine_config().speculative_config


DRAFTING = DraftModel(
    model="./local_models/pocket-draft",
    draft_sample_method="probabilistic",
    rejection_sample_method="block",
    draft_tensor_parallel_size=1,
)
# By name: a method that fits pocket-chat, given a folder to make its checkpoint in.
FITTING: dict[str, Callable[[Path], Method]] = {
    "ngram": lambda _: Ngram(),
    "draft_model": lambda _: DRAFTING,
    "eagle3": lambda place: Eagle3(model=folder(place, EAGLE3_HEAD)),
    "dflash": lambda place: DFlash(model=folder(place, DFLASH_DRAFT)),
}


@pytest.mark.parametrize("name", FITTING)
def test_vllm_takes_each_method(tmp_path: Path, name: str) -> None:
    method = FITTING[name](tmp_path / "draft")
    found = taken(str(POCKET), method)
    config = method.speculative_config()
    assert (found.method, found.num_speculative_tokens) == (name, config["num_speculative_tokens"])


def test_auto_finds_a_model_s_own_head_and_vllm_takes_it(tmp_path: Path) -> None:
    model = folder(tmp_path / "own-head", OWN_HEAD)
    facts = facts_of(model, arguments_of(model).create_model_config().hf_config)
    assert facts == Facts("own-head", 64, 2, mtp_tokens=1)
    found = taken(model, choose(facts, is_there).method)
    assert (found.method, found.num_speculative_tokens) == ("mtp", 1)
    assert found.num_speculative_tokens_per_batch_size == [(1, 128, 1), (129, 1024, 0)]
    without = folder(tmp_path / "without", OWN_HEAD | {"num_nextn_predict_layers": 0})
    assert facts_of(without, arguments_of(without).create_model_config().hf_config).mtp_tokens == 0
    pocket = str(POCKET)
    assert facts_of(pocket, arguments_of(pocket).create_model_config().hf_config) == Facts("pocket-chat", 64, 2)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_field_of_a_method_is_one_of_vllm_s(method: Any) -> None:
    from vllm.config.speculative import SpeculativeConfig, SpeculativeMethod

    assert set(method.model_fields) <= {field.name for field in dataclasses.fields(SpeculativeConfig)}
    assert method.model_fields["method"].default in words(SpeculativeMethod)


def words(part: Any) -> set[str]:
    """The words of a type that is made of literals."""
    return {part} if isinstance(part, str) else {word for inner in get_args(part) for word in words(inner)}


@pytest.mark.parametrize("tokens", [1, 4, 15])
def test_vllm_reads_the_falling_draft_length_as_it_is_meant(tokens: int) -> None:
    from vllm.v1.spec_decode.dynamic.utils import build_dynamic_sd_schedule_lookup

    by_size = build_dynamic_sd_schedule_lookup(falling(tokens), 2000, tokens)
    assert by_size[1:17] == [tokens] * 16
    assert by_size[129:] == [0] * (2001 - 129)
    assert by_size[1:] == sorted(by_size[1:], reverse=True)


def test_a_checkpoint_that_is_not_there_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert is_there(str(tmp_path))
    assert not is_there(str(tmp_path / "nowhere"))


def test_suffix_without_its_package_says_what_to_install() -> None:
    with pytest.raises(EngineArgumentError, match=r"Install arctic-inference==0\.1\.1, or choose another method"):
        check_package(Suffix())
