"""Starts vLLM's engine on a model, and vLLM's own server application on the engine."""

import argparse
import types

from contract.options.catalog import ServedModel
from contract.speculation import Method, from_wire
from deployments.vllm import engine_process
from deployments.vllm.arguments import split
from deployments.vllm.internals.application import (
    count_input_tokens,
    fill_in_the_middle,
    renderer_of,
    report_validation_errors_as_data,
)
from deployments.vllm.internals.arguments import frontend_args_class
from deployments.vllm.internals.engine_reports import EngineReports, step_logger
from deployments.vllm.internals.errors import leave_client_faults_out_of_the_log
from deployments.vllm.internals.imports import importing_vllm
from deployments.vllm.internals.input_grammars import hold_input_grammars
from deployments.vllm.internals.messages import (
    answer_cut_tool_calls_of_messages,
    count_tokens_past_the_cache_of_images,
    report_errors_of_messages_in_full,
)
from deployments.vllm.internals.model_files import load_format, revisions
from deployments.vllm.internals.server import VllmServer
from deployments.vllm.internals.speculation import check_package, choice_of
from deployments.vllm.internals.tool_calls import (
    bound_whitespace_of_tool_calls,
    read_cut_tool_calls,
    report_length_of_cut_tool_calls,
)
from deployments.vllm.log import logging_arguments

# The server's own defaults, where they differ from vLLM's. A model entry may override each.
DEFAULTS = {
    "enable_prompt_tokens_details": True,
    "tool_strict_level": "parameter",  # arguments of forced tool calls always fit their schema
    "enable_log_deltas": False,
    "disable_fastapi_docs": True,
}

# The gateway fetches what a request names by URL; an empty list would let the engine fetch from everywhere.
NOTHING_TO_FETCH = ["nothing.invalid"]


async def start_server(served: ServedModel) -> VllmServer:
    """Start an engine on a model and build vLLM's own server application on it.

    Its `engine_kwargs` are the arguments of `vllm serve`, with underscores; nested configurations are plain mappings.
    Raises EngineArgumentError for a wrong name or value, PickleError.
    """
    preloaded = engine_process.start_server(served.engine_kwargs)
    with importing_vllm():
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.app import build_app
        from vllm.v1.engine import utils
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

    if preloaded is not None:
        utils.get_mp_context = engine_process.forking(utils.get_mp_context, preloaded)
    frontend_class = frontend_args_class()
    given = DEFAULTS | logging_arguments() | served.engine_kwargs | revisions(served) | load_format(served)
    engine_values, frontend_values = split(given, AsyncEngineArgs, frontend_class)
    engine_args = AsyncEngineArgs(
        model=served.source, served_model_name=[served.id], allowed_media_domains=NOTHING_TO_FETCH, **engine_values
    )
    speculation = from_wire(served.speculation)
    choice = choice_of(served.id, served.source, engine_args) if speculation == "auto" else None
    method = choice.method if choice else speculation
    if isinstance(method, Method):
        check_package(method)
        engine_args.speculative_config = method.speculative_config()
    frontend_args = frontend_class(**frontend_values)
    reports = EngineReports()
    loggers = [RayPrometheusStatLogger, step_logger(reports)]
    engine = AsyncLLM.from_engine_args(engine_args, stat_loggers=loggers)
    tasks = await engine.get_supported_tasks()
    hold_input_grammars()
    read_cut_tool_calls()
    report_length_of_cut_tool_calls()
    answer_cut_tool_calls_of_messages()
    report_errors_of_messages_in_full()
    count_tokens_past_the_cache_of_images()
    leave_client_faults_out_of_the_log()
    # A plain namespace, as vLLM's own command line hands over: engine fields win where both have one.
    arguments = argparse.Namespace(**(vars(frontend_args) | vars(engine_args)))
    app = build_app(arguments, tasks, engine.model_config)
    await init_app_state(engine, app.state, arguments, tasks)
    fill_in_the_middle(renderer_of(app), engine)
    if "generate" in tasks:
        count_input_tokens(app, engine.model_config)
    # vLLM's handler of a dead engine asks its HTTP server to stop; there is none here, Serve replaces the replica.
    app.state.server = types.SimpleNamespace(should_exit=False)
    report_validation_errors_as_data(app)
    if engine_args.structured_outputs_config.disable_any_whitespace:
        bound_whitespace_of_tool_calls()
    return VllmServer(engine, app, arguments, reports=reports, choice=choice)
