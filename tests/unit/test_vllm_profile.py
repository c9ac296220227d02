"""What is found in a vLLM engine: the model's capabilities, what its configuration forbids, its limits."""

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.vllm.internals.profile import NO_REASONING, NO_THINKING_BUDGET, NOT_WITH_SPECULATION
from deployments.vllm.internals.server import VllmServer

TEMPLATE = "{% if tools %}{{ tools }}{% endif %}{{ messages }}{{ reasoning_effort }}"

TEXT = {"completions", "tokenize"}  # what every language model can do


def engine_of(template: str | None, speculation: Any = None, *, has_marks: bool = True, **model: Any) -> Any:
    """As much of an engine as a profile is read from."""

    def get_chat_template(*_: Any, **__: Any) -> str:
        if template is None:
            raise ValueError("no template")
        return template

    config = SimpleNamespace(
        runner_type="generate", max_model_len=512, get_vocab_size=lambda: 384, max_logprobs=20,
        is_multimodal_model=False, hf_config=SimpleNamespace(),
    )  # fmt: skip
    vars(config).update(model)
    return SimpleNamespace(
        model_config=config,
        vllm_config=SimpleNamespace(
            speculative_config=speculation, reasoning_config=SimpleNamespace(enabled=has_marks)
        ),
        get_tokenizer=lambda: SimpleNamespace(get_chat_template=get_chat_template),
    )


def drafting(model: str = "org/small", tiers: Any = None) -> Any:
    """As much of vLLM's own configuration as is shown."""
    return SimpleNamespace(
        method="draft_model",
        model=model,
        uses_draft_kv_cache=lambda: True,
        num_speculative_tokens=4,
        num_speculative_tokens_per_batch_size=tiers,
    )


def app_of(render: Any = lambda _prompt, _suffix: None) -> Any:
    """As much of vLLM's server application as a profile is read from: what renders a suffix, if anything does."""
    renderer = SimpleNamespace(render_completion_suffix=render)
    return SimpleNamespace(state=SimpleNamespace(online_renderer=SimpleNamespace(renderer=renderer)))


def profile_of(
    engine: Any, tool_call_parser: str | None = None, reasoning_parser: str | None = None, app: Any = None
) -> Any:
    arguments: Any = SimpleNamespace(
        chat_template=None,
        tool_call_parser=tool_call_parser,
        structured_outputs_config=SimpleNamespace(reasoning_parser=reasoning_parser),
    )
    return VllmServer(engine, app or app_of(), arguments).profile()


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The template is given here; loading one from a file is vLLM's, as is what its calls hold."""
    monkeypatch.setattr("deployments.vllm.internals.profile._load_template", lambda given: given)
    monkeypatch.setattr("deployments.vllm.internals.profile.lacks_of", lambda *_: {"called_input_formats": "none"})


def test_the_limits_are_the_model_s() -> None:
    assert profile_of(engine_of(TEMPLATE)).limits == {
        "context_length": 512,
        "vocabulary_size": 384,
        "max_logprobs": 20,
    }


def test_tools_need_a_template_that_reads_them_and_a_parser() -> None:
    assert profile_of(engine_of(TEMPLATE), tool_call_parser="hermes").capabilities == {*TEXT, "chat", "tools"}
    assert profile_of(engine_of(TEMPLATE)).capabilities == {*TEXT, "chat"}
    assert profile_of(engine_of("{{ messages }}"), tool_call_parser="hermes").capabilities == {*TEXT, "chat"}


def test_what_calls_cannot_hold_is_lacking_where_there_are_calls() -> None:
    assert profile_of(engine_of(TEMPLATE), tool_call_parser="hermes").lacks["called_input_formats"] == "none"
    assert "called_input_formats" not in profile_of(engine_of(TEMPLATE)).lacks


def test_a_model_without_a_template_completes_and_does_not_chat() -> None:
    assert profile_of(engine_of(None)).capabilities == TEXT


def test_a_model_fills_in_where_its_renderer_takes_a_suffix() -> None:
    fills_in = profile_of(engine_of(TEMPLATE), app=app_of(render=lambda prompt, suffix: prompt + suffix))
    assert fills_in.capabilities == {*TEXT, "chat", "fill_in_the_middle"}


def test_vision_and_reasoning_are_found() -> None:
    sees = engine_of(TEMPLATE, is_multimodal_model=True, hf_config=SimpleNamespace(vision_config={}))
    assert profile_of(sees, reasoning_parser="qwen3").capabilities == {*TEXT, "chat", "vision", "reasoning"}


def test_what_the_template_does_not_read_is_lacking() -> None:
    assert set(profile_of(engine_of(TEMPLATE), reasoning_parser="qwen3").lacks) == {"verbosity"}


def test_a_model_thinks_where_it_has_a_reasoning_parser_and_within_a_budget_where_that_knows_the_marks() -> None:
    assert profile_of(engine_of(TEMPLATE)).lacks["thinking"] == NO_REASONING
    markless = profile_of(engine_of(TEMPLATE, has_marks=False), reasoning_parser="openai_gptoss")
    assert markless.lacks["thinking_budget"] == NO_THINKING_BUDGET
    assert "thinking" not in markless.lacks


def test_speculation_forbids_logit_bias_and_min_p() -> None:
    lacks = profile_of(engine_of(TEMPLATE, speculation=drafting())).lacks
    assert lacks["logit_bias"] == lacks["min_p"] == NOT_WITH_SPECULATION


def test_how_the_engine_speculates_is_found_and_no_path_leaves_the_machine() -> None:
    assert profile_of(engine_of(TEMPLATE)).speculation is None
    for model, shown in (("/secret/place/small", "small"), ("org/small", "org/small")):
        found = profile_of(engine_of(TEMPLATE, speculation=drafting(model=model, tiers=[(1, 8, 4), (9, 9, 0)])))
        assert found.speculation == {
            "method": "draft_model",
            "model": shown,
            "num_speculative_tokens": 4,
            "num_speculative_tokens_per_batch_size": [[1, 8, 4], [9, 9, 0]],
        }


def test_the_configuration_overrides_single_capabilities() -> None:
    found = profile_of(engine_of(TEMPLATE), tool_call_parser="hermes")
    assert found.overridden([("tools", False), ("vision", True)], []).capabilities == {*TEXT, "chat", "vision"}


def pooling_engine(score_type: str, labels: int = 2, **model: Any) -> Any:
    config = SimpleNamespace(num_labels=labels)
    return engine_of(TEMPLATE, runner_type="pooling", score_type=score_type, hf_config=config, **model)


def test_a_cross_encoder_reranks_and_makes_no_vectors() -> None:
    found = profile_of(pooling_engine("cross-encoder", labels=1))
    assert found.capabilities == {"rerank"}
    assert found.limits == {"context_length": 512, "vocabulary_size": 384}


def test_a_classifier_of_several_labels_does_not_rerank() -> None:
    found = profile_of(pooling_engine("cross-encoder", labels=3, is_matryoshka=False, embedding_size=64))
    assert "rerank" not in found.capabilities


def test_a_pooling_model_embeds_and_shortens_only_where_it_is_matryoshka() -> None:
    for matryoshka in (False, True):
        pooling = profile_of(pooling_engine("bi-encoder", is_matryoshka=matryoshka, embedding_size=64))
        assert pooling.capabilities == {"embeddings", "tokenize"}
        assert set(pooling.lacks) == (set() if matryoshka else {"dimensions"})
        assert pooling.limits["dimensions"] == 64
