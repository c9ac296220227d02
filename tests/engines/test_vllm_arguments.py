"""`engine_kwargs` of a model entry, against vLLM's own argument classes."""

from typing import Any

import pytest

from app.commands.findings.vllm_arguments import faults
from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from deployments.vllm.arguments import EngineArgumentError
from deployments.vllm.arguments import split as split_for
from deployments.vllm.internals.arguments import frontend_args_class


def split(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from vllm.engine.arg_utils import AsyncEngineArgs

    return split_for(values, AsyncEngineArgs, frontend_args_class())


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
    ("values", "reported"),
    [
        ({"max_model_length": 512}, "Did you mean max_model_len"),
        ({"enforce_eager": "perhaps"}, "engine_kwargs.enforce_eager: Input should be a valid boolean"),
        ({"structured_outputs_config": {"backends": "x"}}, "engine_kwargs.structured_outputs_config.backends"),
        ({"api_key": ["x"]}, "engine_kwargs.api_key is set by Portico itself"),
        ({"trust_request_chat_template": True}, "is set by Portico itself"),
    ],
)
def test_a_wrong_argument_is_named(values: dict[str, Any], reported: str) -> None:
    with pytest.raises(EngineArgumentError) as caught:
        split(**values)
    assert reported in str(caught.value)


@pytest.mark.parametrize("name", ["one-gpu-chat", "prod", "small"])
def test_vllm_takes_the_arguments_of_every_entry_for_gpus(name: str) -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / f"{name}.yaml")
    models = [model for model in config.models if model.engine == "vllm"]
    assert models
    for model in models:
        engine, server = split(**model.engine_kwargs)
        assert set(engine) | set(server) >= set(model.engine_kwargs), model.id


def test_check_asks_vllm_about_every_entry_and_hears_of_every_fault() -> None:
    wrong = {
        "max_model_length": 512,
        "enforce_eager": "perhaps",
        "tool_call_parser": "herms",
        "reasoning_parser": "no such thing",
        "max_num_seqs": 4,
    }
    found, right = faults([wrong, {"tool_call_parser": "hermes", "reasoning_parser": "deepseek_r1"}]) or [[], ["none"]]
    assert right == []
    name, boolean, tools, reasoning = found
    assert (
        name
        == "engine_kwargs.max_model_length is not an argument of vLLM. Did you mean max_model_len or "
        + (name.partition("max_model_len or ")[2])
    )
    assert boolean.startswith("engine_kwargs.enforce_eager: Input should be a valid boolean")
    assert tools.startswith("engine_kwargs.tool_call_parser: vLLM has no parser herms. Did you mean hermes")
    assert reasoning.startswith("engine_kwargs.reasoning_parser: vLLM has no parser no such thing.")
