"""Speculation as vLLM knows it: what `auto` asks of a model and comes to, and how an engine speculates."""

import copy
import logging
from pathlib import Path
from typing import Any, get_args

from contract.speculation import Method
from deployments.vllm.arguments import EngineArgumentError
from deployments.vllm.speculation_choice import Facts, SpeculationChoice, choose

logger = logging.getLogger("portico.vllm")


def choice_of(model_id: str, source: str, engine_args: Any) -> SpeculationChoice:
    """What `speculation: auto` comes to for the model at `source`."""
    choice = choose(facts_of(source, engine_args.create_model_config().hf_config), is_there)
    # A warning, so that it is seen: it decides how fast the model is, and nobody wrote it down.
    logger.warning("%s speculates by %s: %s", model_id, choice.method.method, choice.reason)
    return choice


def facts_of(source: str, config: Any) -> Facts:
    """What `speculation: auto` asks of the model at `source`; `config` is transformers' own. Nothing is loaded."""
    text = config.get_text_config()
    return Facts(
        name=Path(source).name,
        hidden_size=getattr(text, "hidden_size", 0),
        layers=getattr(text, "num_hidden_layers", 0),
        mtp_tokens=_mtp_tokens(config),
    )


def _mtp_tokens(config: Any) -> int:
    """How many tokens the model's own heads draft, as vLLM itself finds it; 0 where it has none that vLLM runs."""
    from vllm.config.speculative import MTPModelTypes, SpeculativeConfig

    if config.model_type == "deepseek_v41":  # vLLM takes it for one of them, and then refuses it
        return 0
    try:
        found = SpeculativeConfig.hf_config_override(copy.deepcopy(config))
    except Exception:  # how vLLM says that a checkpoint comes without; of several kinds
        return 0
    return (getattr(found, "n_predict", None) or 0) if found.model_type in get_args(MTPModelTypes) else 0


def is_there(model: str) -> bool:
    """Whether a checkpoint can be had: on this machine, or from the hub."""
    from vllm.transformers_utils.repo_utils import file_or_path_exists

    try:
        return bool(file_or_path_exists(model, "config.json", None))
    except Exception:  # no network, or no right to it: `auto` then takes something else
        return False


def check_package(method: Method) -> None:
    """Raises EngineArgumentError where a method needs a package that is not there."""
    from vllm.utils.import_utils import has_arctic_inference

    if method.method == "suffix" and not has_arctic_inference():
        raise EngineArgumentError(
            "speculation: suffix needs the package arctic-inference, which is not installed here. Install "
            "arctic-inference==0.1.1, or choose another method, such as ngram."
        )


def speculation_of(config: Any, choice: SpeculationChoice | None) -> dict[str, Any] | None:
    """How the engine speculates, for the model's card; `config` is vLLM's own, with what it filled in."""
    if config is None:
        return None
    tiers = config.num_speculative_tokens_per_batch_size
    drafts = config.model if config.uses_draft_kv_cache() and config.method != "mtp" else None
    found = {
        "method": config.method,
        "model": drafts and (Path(drafts).name if Path(drafts).is_absolute() else drafts),  # no path leaves the machine
        "num_speculative_tokens": config.num_speculative_tokens,
        "num_speculative_tokens_per_batch_size": tiers and [list(tier) for tier in tiers],
        "chosen_because": choice and choice.reason,
    }
    return {name: value for name, value in found.items() if value is not None}
