"""`engine_kwargs` of a model entry, against vLLM's own argument classes."""

import dataclasses
from typing import Any, get_args

import pytest

from app.speculation.choice import Facts, falling
from app.speculation.methods import METHODS, Suffix
from deployments.vllm_adapter import (
    EngineArgumentError,
    _check_package,
    _facts,
    _frontend_args_class,
    _is_there,
    _split,
)


def split(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from vllm.engine.arg_utils import AsyncEngineArgs

    return _split(values, AsyncEngineArgs, _frontend_args_class())


def test_arguments_go_to_the_engine_or_to_the_server() -> None:
    engine, server = split(max_model_len=512, enable_auto_tool_choice=True)
    assert engine == {"max_model_len": 512}
    assert server == {"enable_auto_tool_choice": True}


def test_a_nested_mapping_becomes_vllm_s_configuration_object() -> None:
    engine, _ = split(structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True})
    config = engine["structured_outputs_config"]
    assert (type(config).__name__, config.disable_any_whitespace) == ("StructuredOutputsConfig", True)


def test_what_vllm_itself_takes_as_a_mapping_stays_one() -> None:
    speculation = {"method": "ngram", "num_speculative_tokens": 4}
    assert split(speculative_config=speculation)[0] == {"speculative_config": speculation}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_model_length": 512}, "Did you mean max_model_len"),
        ({"enforce_eager": "perhaps"}, "engine_kwargs.enforce_eager: Input should be a valid boolean"),
        ({"structured_outputs_config": {"backends": "x"}}, "engine_kwargs.structured_outputs_config.backends"),
        ({"api_key": ["x"]}, "engine_kwargs.api_key is set by Portico itself"),
        ({"trust_request_chat_template": True}, "is set by Portico itself"),
    ],
)
def test_a_wrong_argument_is_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineArgumentError) as caught:
        split(**values)
    assert told in str(caught.value)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_field_of_a_method_is_one_of_vllm_s_speculative_config(method: Any) -> None:
    from vllm.config.speculative import SpeculativeConfig, SpeculativeMethod

    legal = {field.name for field in dataclasses.fields(SpeculativeConfig)}
    assert set(method.model_fields) <= legal
    assert method.model_fields["method"].default in names(SpeculativeMethod)


def names(part: Any) -> set[str]:
    """The words of a type that is made of literals."""
    return {part} if isinstance(part, str) else {name for inner in get_args(part) for name in names(inner)}


@pytest.mark.parametrize("tokens", [1, 4, 15])
def test_vllm_reads_the_falling_draft_length_as_it_is_meant(tokens: int) -> None:
    from vllm.v1.spec_decode.dynamic.utils import build_dynamic_sd_schedule_lookup

    by_size = build_dynamic_sd_schedule_lookup(falling(tokens), 2000, tokens)
    assert by_size[1:17] == [tokens] * 16
    assert by_size[129:] == [0] * (2001 - 129)
    assert by_size[1:] == sorted(by_size[1:], reverse=True)


def config_of(model_type: str, **values: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **values)


def test_a_model_s_own_head_is_found_where_vllm_runs_it() -> None:
    deepseek = {"architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 128, "num_hidden_layers": 3}
    own = _facts("org/DeepSeek-V3", config_of("deepseek_v3", **deepseek, num_nextn_predict_layers=1))
    assert own == Facts("DeepSeek-V3", 128, 3, mtp_tokens=1)
    assert _facts("x", config_of("deepseek_v3", **deepseek, num_nextn_predict_layers=0)).mtp_tokens == 0
    llama = config_of("llama", architectures=["LlamaForCausalLM"], hidden_size=64, num_hidden_layers=2)
    assert _facts("/models/pocket-chat", llama) == Facts("pocket-chat", 64, 2)


def test_a_checkpoint_that_is_not_there_is_not_there(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert _is_there(str(tmp_path))
    assert not _is_there(str(tmp_path / "nowhere"))


def test_suffix_without_its_package_says_what_to_install() -> None:
    with pytest.raises(EngineArgumentError, match=r"Install arctic-inference==0\.1\.1, or choose another method"):
        _check_package(Suffix())
