"""What an engine can do with its model: read from vLLM's configuration, the model's and the model's chat template."""

import argparse
import re
from typing import Any

from contract.profile import Profile
from deployments.vllm.internals.application import renderer_of
from deployments.vllm.internals.input_grammars import lacks_of
from deployments.vllm.internals.speculation import speculation_of
from deployments.vllm.speculation_choice import SpeculationChoice

NOT_MATRYOSHKA = "the model's vectors cannot be shortened"
NOT_IN_TEMPLATE = "the model's template does not read it"
NO_REASONING = "the model does not reason"
NO_THINKING_BUDGET = "the model's reasoning cannot be cut"
NOT_WITH_SPECULATION = "not supported by vllm with speculative decoding"


def profile_of(engine: Any, app: Any, arguments: argparse.Namespace, choice: SpeculationChoice | None) -> Profile:
    """What the model, its template and this engine's configuration make possible."""
    if engine.model_config.runner_type == "pooling":
        return _pooling_profile(engine.model_config)
    return _language_profile(engine, app, arguments, choice)


def _language_profile(
    engine: Any, app: Any, arguments: argparse.Namespace, choice: SpeculationChoice | None
) -> Profile:
    model = engine.model_config
    template = _chat_template(engine, arguments.chat_template)
    variables = set(re.findall(r"\w+", template))
    has = {
        "chat": bool(template),
        "tools": "tools" in variables and bool(arguments.tool_call_parser),
        "vision": model.is_multimodal_model and hasattr(model.hf_config, "vision_config"),
        "audio": model.is_multimodal_model and hasattr(model.hf_config, "audio_config"),
        "reasoning": bool(arguments.structured_outputs_config.reasoning_parser),
        "completions": True,
        "tokenize": True,
        "fill_in_the_middle": renderer_of(app).render_completion_suffix("", "") is not None,
    }
    lacks = {name: NOT_IN_TEMPLATE for name in ("reasoning_effort", "verbosity") if name not in variables}
    if not has["reasoning"]:
        lacks["thinking"] = NO_REASONING
    elif not engine.vllm_config.reasoning_config.enabled:  # its parser names no marks
        lacks["thinking_budget"] = NO_THINKING_BUDGET
    if has["tools"]:
        lacks |= lacks_of(engine, arguments)
    speculation = speculation_of(engine.vllm_config.speculative_config, choice)
    if speculation is not None:
        lacks |= dict.fromkeys(("logit_bias", "min_p"), NOT_WITH_SPECULATION)
    return Profile(
        engine="vllm",
        capabilities=frozenset(name for name, there in has.items() if there),
        lacks=lacks,
        limits={
            "context_length": model.max_model_len,
            "vocabulary_size": model.get_vocab_size(),
            "max_logprobs": model.max_logprobs,
        },
        speculation=speculation,
    )


def _pooling_profile(model: Any) -> Profile:
    """Of a model that gives pairs of texts a score, or else vectors."""
    limits = {"context_length": model.max_model_len, "vocabulary_size": model.get_vocab_size()}
    if model.score_type == "cross-encoder" and model.hf_config.num_labels == 1:
        return Profile(engine="vllm", capabilities=frozenset({"rerank"}), limits=limits)
    return Profile(
        engine="vllm",
        capabilities=frozenset({"embeddings", "tokenize"}),
        lacks={} if model.is_matryoshka else {"dimensions": NOT_MATRYOSHKA},
        limits=limits | {"dimensions": model.embedding_size},
    )


def _chat_template(engine: Any, given: str | None) -> str:
    """The template that turns messages into a prompt; empty where the model has none."""
    tokenizer = engine.get_tokenizer()
    try:
        return str(tokenizer.get_chat_template(_load_template(given), tools=[]))
    except (ValueError, AttributeError):  # no template; no tokenizer of transformers
        return ""


def _load_template(given: str | None) -> str | None:
    """A template given as text or as a file's name."""
    from vllm.renderers.chat_utils import load_chat_template

    template: str | None = load_chat_template(given)
    return template
