"""vLLM's own classes of arguments, and what is wrong with `engine_kwargs` by them."""

from typing import Any

from deployments.vllm.arguments import faults, parser_faults


def argument_faults(engine_kwargs: dict[str, Any]) -> list[str]:
    """All that is wrong in a model entry's `engine_kwargs`, before anything is started."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    found = faults(engine_kwargs, AsyncEngineArgs, frontend_args_class())
    if "tool_parser_plugin" not in engine_kwargs:
        found += parser_faults(engine_kwargs, "tool_call_parser", ToolParserManager.list_registered())
    if "reasoning_parser_plugin" not in engine_kwargs:
        found += parser_faults(engine_kwargs, "reasoning_parser", ReasoningParserManager.list_registered())
    return found


def frontend_args_class() -> Any:
    try:
        from vllm.entrypoints.common.cli_args import FrontendArgs  # 0.33
    except ImportError:
        from vllm.entrypoints.launchers.cli_args import FrontendArgs
    return FrontendArgs
