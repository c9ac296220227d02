"""Starts vLLM's engine on a model, and vLLM's own server application on the engine."""

import argparse
import copy
import json
import logging
import re
import types
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pydantic
import pydantic_core

from contract.options.catalog import ServedModel
from contract.profile import Profile
from contract.protocol import INPUT_TOKENS_ROUTE
from contract.speculation import Method, from_wire
from deployments.imports import importing
from deployments.vllm import engine_process
from deployments.vllm.arguments import EngineArgumentError, faults, parser_faults, split
from deployments.vllm.errors import presentable, validation_error
from deployments.vllm.fill_in import fill_in
from deployments.vllm.log import logging_arguments
from deployments.vllm.lora_adapters import LoraLimits
from deployments.vllm.lora_files import MisfitError
from deployments.vllm.speculation_choice import Facts, SpeculationChoice, choose
from deployments.weights import refuse_pickles

logger = logging.getLogger("portico.vllm")

# The server's own defaults, where they differ from vLLM's. A model entry may override each.
DEFAULTS = {
    "enable_prompt_tokens_details": True,
    "tool_strict_level": "parameter",  # arguments of forced tool calls always fit their schema
    "enable_log_deltas": False,
    "disable_fastapi_docs": True,
}

NOT_USED = "sklearn"  # transformers takes it along, and so scipy, for a kind of decoding that vLLM does not leave to it
# Formats in which vLLM takes a pickle where there are no safetensors.
MAY_BE_PICKLES = frozenset({"auto", "hf"})

# The gateway fetches what a request names by URL; an empty list would let the engine fetch from everywhere.
NOTHING_TO_FETCH = ["nothing.invalid"]
NOT_MATRYOSHKA = "the model's vectors cannot be shortened"
NOT_IN_TEMPLATE = "the model's template does not read it"
NO_REASONING = "the model does not reason"
NO_THINKING_BUDGET = "the model's reasoning cannot be cut"
NOT_WITH_SPECULATION = "not supported by vllm with speculative decoding"


class EngineReports:
    """What the engine's process reports after each of its steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.kv_cache_usage: dict[int, float] = {}  # by the engine's index


class VllmServer:
    """A running vLLM engine and the ASGI application that serves it: vLLM's own server, without a socket."""

    def __init__(
        self,
        engine: Any,
        app: Any,
        arguments: argparse.Namespace,
        *,
        reports: EngineReports | None = None,
        choice: SpeculationChoice | None = None,
    ) -> None:
        """`reports` is filled by a logger of the engine; `choice` is what `speculation: auto` came to, if at all."""
        self.app = app
        self._reports = reports or EngineReports()
        self._engine = engine
        self._arguments = arguments
        self._choice = choice

    async def check_health(self) -> None:
        """Raise where the engine is dead; it never comes back by itself."""
        await self._engine.check_health()

    def tokenizer(self) -> Any:
        """The model's tokenizer, of transformers. It is the engine's own, so copy it before another thread uses it."""
        return self._engine.get_tokenizer()

    def profile(self) -> Profile:
        """What the model, its template and this engine's configuration make possible."""
        model = self._engine.model_config
        return _pooling_profile(model) if model.runner_type == "pooling" else self._language_profile(model)

    def _language_profile(self, model: Any) -> Profile:
        template = _chat_template(self._engine, self._arguments.chat_template)
        variables = set(re.findall(r"\w+", template))
        has = {
            "chat": bool(template),
            "tools": "tools" in variables and bool(self._arguments.tool_call_parser),
            "vision": model.is_multimodal_model and hasattr(model.hf_config, "vision_config"),
            "audio": model.is_multimodal_model and hasattr(model.hf_config, "audio_config"),
            "reasoning": bool(self._arguments.structured_outputs_config.reasoning_parser),
            "completions": True,
            "tokenize": True,
            "fill_in_the_middle": _renderer(self.app).render_completion_suffix("", "") is not None,
        }
        lacks = {name: NOT_IN_TEMPLATE for name in ("reasoning_effort", "verbosity") if name not in variables}
        if not has["reasoning"]:
            lacks["thinking"] = NO_REASONING
        elif not self._engine.vllm_config.reasoning_config.enabled:  # its parser names no marks
            lacks["thinking_budget"] = NO_THINKING_BUDGET
        speculation = _speculation(self._engine.vllm_config.speculative_config, self._choice)
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

    def lora_limits(self) -> LoraLimits | None:
        """How many LoRA adapters it holds, and how large they may be; None where it was started without them."""
        config = self._engine.vllm_config.lora_config
        return config and LoraLimits(config.max_lora_rank, config.max_cpu_loras)

    async def load_lora(self, adapter_id: str, number: int, folder: Path) -> None:
        """Load a LoRA adapter, so that requests may name it as their model. Raises MisfitError."""
        from vllm.lora.request import LoRARequest

        adapter = LoRARequest(adapter_id, number, str(folder))
        try:
            await self._engine.add_lora(adapter)
        except Exception as error:  # what the worker raised comes as a plain one, with its message
            await self._engine.check_health()
            await self._engine.remove_lora(number)  # a part of it may be there
            message = str(error).rpartition(" method failed: ")[2].replace(str(folder), "it").rstrip(".")
            raise MisfitError(presentable(message)) from error
        self.app.state.openai_serving_models.lora_requests[adapter_id] = adapter

    async def leave_lora(self, adapter_id: str, number: int) -> None:
        """Free what `load_lora` has loaded; no request may be for it."""
        del self.app.state.openai_serving_models.lora_requests[adapter_id]
        await self._engine.remove_lora(number)

    def kv_cache_usage(self) -> float:
        """The share of the KV cache that running requests hold, in 0..1, as of the engine's last step."""
        # The last step of all leaves its own usage behind.
        return max(self._reports.kv_cache_usage.values(), default=0.0) if self.unfinished_requests() else 0.0

    def unfinished_requests(self) -> int:
        return int(self._engine.get_num_unfinished_requests())

    def steps(self) -> int:
        """Reports of the engine's steps so far; a part of a long prefill is one as well."""
        return self._reports.steps

    def shutdown(self) -> None:
        """It may be called again."""
        self._engine.shutdown()


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


def replace_expand_on_cpus(function: Callable[..., None]) -> None:
    """Have vLLM call `function` where it would call its own in the place of the kernel `expand_kernel`."""
    from vllm.utils import cpu_triton_utils

    cpu_triton_utils._expand_kernel_impl = function


def wrap_lora_on_cpus(wrap: Callable[[Callable[..., None], str], Callable[..., None]]) -> None:
    """Have vLLM call `wrap(method, indices)` in the place of each method that adds what adapters change on CPUs.

    `indices` is the attribute that has the adapter of each row: of a token, or of a request.
    """
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    tokens = ("add_lora_linear", "add_lora_embedding", "add_expand")
    for name, indices in [*((name, "token_lora_indices") for name in tokens), ("add_lora_logits", "sampler_indices")]:
        setattr(PunicaWrapperCPU, name, wrap(getattr(PunicaWrapperCPU, name), indices))


def import_engine() -> None:
    """Import what an engine on a CPU runs, with the commonest kind of models."""
    with importing(without=NOT_USED):
        for module in ("engine.core", "worker.cpu_worker", "attention.backends.cpu_attn"):
            import_module(f"vllm.v1.{module}")
        import_module("vllm.model_executor.models.llama")


async def start_server(served: ServedModel) -> VllmServer:
    """Start an engine on a model and build vLLM's own server application on it.

    Its `engine_kwargs` are the arguments of `vllm serve`, with underscores; nested configurations are plain mappings.
    Raises EngineArgumentError for a wrong name or value, PickleError.
    """
    preloaded = engine_process.start_server(served.engine_kwargs)
    with importing(without=NOT_USED):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.app import build_app
        from vllm.v1.engine import utils
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

    if preloaded is not None:
        utils.get_mp_context = engine_process.forking(utils.get_mp_context, preloaded)
    frontend_class = _frontend_args_class()
    given = DEFAULTS | logging_arguments() | served.engine_kwargs | _revisions(served) | _load_format(served)
    engine_values, frontend_values = split(given, AsyncEngineArgs, frontend_class)
    engine_args = AsyncEngineArgs(
        model=served.source, served_model_name=[served.id], allowed_media_domains=NOTHING_TO_FETCH, **engine_values
    )
    speculation = from_wire(served.speculation)
    choice = _choice(served.id, served.source, engine_args) if speculation == "auto" else None
    method = choice.method if choice else speculation
    if isinstance(method, Method):
        _check_package(method)
        engine_args.speculative_config = method.speculative_config()
    frontend_args = frontend_class(**frontend_values)
    reports = EngineReports()
    loggers = [RayPrometheusStatLogger, _step_logger(reports)]
    engine = AsyncLLM.from_engine_args(engine_args, stat_loggers=loggers)
    tasks = await engine.get_supported_tasks()
    _read_cut_tool_calls()
    _report_length_of_cut_tool_calls()
    _answer_cut_tool_calls_of_messages()
    _report_errors_of_messages_in_full()
    _count_tokens_past_the_cache_of_images()
    _leave_client_faults_out_of_the_log()
    # A plain namespace, as vLLM's own command line hands over: engine fields win where both have one.
    arguments = argparse.Namespace(**(vars(frontend_args) | vars(engine_args)))
    app = build_app(arguments, tasks, engine.model_config)
    await init_app_state(engine, app.state, arguments, tasks)
    _fill_in_the_middle(_renderer(app), engine)
    if "generate" in tasks:
        _count_input_tokens(app, engine.model_config)
    # vLLM's handler of a dead engine asks its HTTP server to stop; there is none here, Serve replaces the replica.
    app.state.server = types.SimpleNamespace(should_exit=False)
    _report_validation_errors_as_data(app)
    if engine_args.structured_outputs_config.disable_any_whitespace:
        _bound_whitespace_of_tool_calls()
    return VllmServer(engine, app, arguments, reports=reports, choice=choice)


def _revisions(served: ServedModel) -> dict[str, Any]:
    """The commit of the model, and of its tokenizer where that is not another's."""
    if served.revision is None:
        return {}
    own = {} if "tokenizer" in served.engine_kwargs else {"tokenizer_revision": served.revision}
    return {"revision": served.revision} | own


def _load_format(served: ServedModel) -> dict[str, Any]:
    """vLLM's own choice of a format, but never a pickle. Raises PickleError where the folder has nothing else."""
    from vllm.transformers_utils.repo_utils import is_mistral_model_repo

    given = served.engine_kwargs.get("load_format", "auto")
    if "pickle" in served.allow or given not in MAY_BE_PICKLES or "://" in served.source:
        return {}
    refuse_pickles(Path(served.source))
    is_mistral = given == "auto" and is_mistral_model_repo(served.source, revision=served.revision)
    return {"load_format": "mistral" if is_mistral else "safetensors"}


def _step_logger(reports: EngineReports) -> Any:
    """A logger of vLLM's, which calls it with what each step of an engine reports."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class StepLogger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:  # noqa: ARG002 - vLLM calls it so
            self._index = engine_index

        def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:  # noqa: ARG002
            reports.steps += 1
            if scheduler_stats is not None:
                reports.kv_cache_usage[self._index] = scheduler_stats.kv_cache_usage

        def log_engine_initialized(self) -> None:
            pass

    return StepLogger


def _choice(model_id: str, source: str, engine_args: Any) -> SpeculationChoice:
    """What `speculation: auto` comes to for the model at `source`."""
    choice = choose(_facts(source, engine_args.create_model_config().hf_config), _is_there)
    # A warning, so that it is seen: it decides how fast the model is, and nobody wrote it down.
    logger.warning("%s speculates by %s: %s", model_id, choice.method.method, choice.reason)
    return choice


def _facts(source: str, config: Any) -> Facts:
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


def _is_there(model: str) -> bool:
    """Whether a checkpoint can be had: on this machine, or from the hub."""
    from vllm.transformers_utils.repo_utils import file_or_path_exists

    try:
        return bool(file_or_path_exists(model, "config.json", None))
    except Exception:  # no network, or no right to it: `auto` then takes something else
        return False


def _check_package(method: Method) -> None:
    """Raises EngineArgumentError where a method needs a package that is not there."""
    from vllm.utils.import_utils import has_arctic_inference

    if method.method == "suffix" and not has_arctic_inference():
        raise EngineArgumentError(
            "speculation: suffix needs the package arctic-inference, which is not installed here. Install "
            "arctic-inference==0.1.1, or choose another method, such as ngram."
        )


def _speculation(config: Any, choice: SpeculationChoice | None) -> dict[str, Any] | None:
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


def _load_template(given: str | None) -> str | None:
    """A template given as text or as a file's name."""
    from vllm.renderers.chat_utils import load_chat_template

    template: str | None = load_chat_template(given)
    return template


def _chat_template(engine: Any, given: str | None) -> str:
    """The template that turns messages into a prompt; empty where the model has none."""
    tokenizer = engine.get_tokenizer()
    try:
        return str(tokenizer.get_chat_template(_load_template(given), tools=[]))
    except (ValueError, AttributeError):  # no template; no tokenizer of transformers
        return ""


def _renderer(app: Any) -> Any:
    """What turns the requests of vLLM's own server application into prompts."""
    return app.state.online_renderer.renderer


def _fill_in_the_middle(renderer: Any, engine: Any) -> None:
    """Have vLLM put a suffix into prompts of a model whose tokenizer has the tokens for it."""
    render = fill_in(engine.get_tokenizer())
    if render is not None and renderer.render_completion_suffix("", "") is None:
        renderer.render_completion_suffix = render


def _count_input_tokens(app: Any, model: Any) -> None:
    """Give vLLM's server application a route that it lacks, which counts also what exceeds the context."""
    from starlette.responses import JSONResponse
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.renderers.inputs.preprocess import extract_prompt_len

    class Unbounded(ResponsesRequest):  # type: ignore[misc]
        def build_tok_params(self, model_config: Any) -> Any:
            return replace(super().build_tok_params(model_config), max_total_tokens=None, truncate_prompt_tokens=None)

    @app.post(INPUT_TOKENS_ROUTE)  # type: ignore[untyped-decorator]
    async def count(request: Unbounded) -> JSONResponse:
        rendered = await app.state.online_renderer.render_responses(request, skip_mm_cache=True)
        if hasattr(rendered, "error"):
            return JSONResponse(rendered.model_dump(), rendered.error.code)
        tokens = extract_prompt_len(model, rendered.engine_input)
        return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})


def argument_faults(engine_kwargs: dict[str, Any]) -> list[str]:
    """All that is wrong in a model entry's `engine_kwargs`, before anything is started."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    found = faults(engine_kwargs, AsyncEngineArgs, _frontend_args_class())
    if "tool_parser_plugin" not in engine_kwargs:
        found += parser_faults(engine_kwargs, "tool_call_parser", ToolParserManager.list_registered())
    if "reasoning_parser_plugin" not in engine_kwargs:
        found += parser_faults(engine_kwargs, "reasoning_parser", ReasoningParserManager.list_registered())
    return found


def _frontend_args_class() -> Any:
    try:
        from vllm.entrypoints.common.cli_args import FrontendArgs  # 0.33
    except ImportError:
        from vllm.entrypoints.launchers.cli_args import FrontendArgs
    return FrontendArgs


def reported(error: Exception) -> tuple[int, bytes]:
    """The status and the body that vLLM answers for an exception."""
    from vllm.entrypoints.serve.exception_handling.error_response import create_error_response

    response = create_error_response(error)
    return int(response.error.code), response.model_dump_json().encode()


def _read_cut_tool_calls() -> None:
    """Make vLLM's hermes parser read a complete answer as it reads a streamed one: a call that the answer's end cut
    keeps the arguments that are there. vLLM returns its markup as text, and logs a traceback.
    """
    from vllm.entrypoints.generate.base.protocol import ExtractedToolCallInformation, FunctionCall, ToolCall
    from vllm.tool_parsers import ToolParserManager
    from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser
    from vllm.tool_parsers.utils import partial_tag_overlap

    class HermesToolParser(Hermes2ProToolParser):  # type: ignore[misc]
        def extract_tool_calls(self, model_output: str, request: Any) -> Any:
            if self.tool_call_start_token not in model_output:
                beginning = partial_tag_overlap(model_output, self.tool_call_start_token)
                cut = beginning > 1 or beginning == len(model_output)  # behind a text, a lone `<` may be text too
                text = model_output[:-beginning] if cut else model_output
                return ExtractedToolCallInformation(tools_called=cut, tool_calls=[], content=text)
            delta = self.extract_tool_calls_streaming("", model_output, model_output, (), (), (), request)
            calls: dict[int, FunctionCall] = {}
            for part in delta.tool_calls if delta else ():
                call = calls.setdefault(part.index, FunctionCall(name=part.function.name or "", arguments=""))
                call.arguments += part.function.arguments or ""
            return ExtractedToolCallInformation(
                tools_called=True,
                tool_calls=[ToolCall(function=call) for call in calls.values()],
                content=delta and delta.content,
            )

        def get_remaining_unstreamed_args(self) -> str:
            return ""  # vLLM ends a stream that was cut behind a name with the arguments `{}`

    for name in ("hermes", "qwen3_json"):  # vLLM has the parser under both
        ToolParserManager.register_module(name, module=HermesToolParser)


def _report_length_of_cut_tool_calls() -> None:
    """Make the finish reason of a choice that the token limit cut `length`, as in a stream: vLLM says `tool_calls`
    where the model chose by itself to call.
    """
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    complete = OpenAIServingChat.chat_completion_full_generator

    async def reported(self: Any, request: Any, result_generator: Any, *args: Any, **kwargs: Any) -> Any:
        cut: set[int] = set()

        async def results() -> AsyncGenerator[Any]:
            async for result in result_generator:
                cut.update(output.index for output in result.outputs if output.finish_reason == "length")
                yield result

        response = await complete(self, request, results(), *args, **kwargs)
        for choice in getattr(response, "choices", ()):  # an error has none
            if choice.index in cut:
                choice.finish_reason = "length"
        return response

    OpenAIServingChat.chat_completion_full_generator = reported


def _answer_cut_tool_calls_of_messages() -> None:
    """Make a call that the token limit cut an answer on Anthropic's route: vLLM fails to parse its arguments. What is
    whole of them is its input.
    """
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    convert = AnthropicServingMessages.messages_full_converter

    def converted(self: Any, response: Any) -> Any:
        for call in response.choices[0].message.tool_calls:
            call.function.arguments = _whole_arguments(call.function.arguments)
        return convert(self, response)

    AnthropicServingMessages.messages_full_converter = converted


def _whole_arguments(arguments: str) -> str:
    """`arguments` as a JSON object, without what is cut in it."""
    try:
        value = pydantic_core.from_json(arguments, allow_partial=True)
    except ValueError:  # it is not even the beginning of any
        value = {}
    return json.dumps(value if isinstance(value, dict) else {})


def _report_errors_of_messages_in_full() -> None:
    """Make vLLM report errors on Anthropic's routes as on chat: with the parameter, and in a stream with the status."""
    from starlette.responses import JSONResponse
    from vllm.entrypoints.anthropic import api_router
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    convert = AnthropicServingMessages.message_stream_converter

    async def converted(self: Any, chat_events: AsyncGenerator[str]) -> AsyncGenerator[str]:
        errors: list[str] = []

        async def good() -> AsyncGenerator[str]:
            async for event in chat_events:
                if event.startswith('data: {"error"'):
                    errors.append(event)
                    return
                yield event

        async with aclosing(convert(self, good())) as events:
            async for event in events:
                yield event
        for event in errors:
            yield event

    AnthropicServingMessages.message_stream_converter = converted
    api_router.translate_error_response = lambda error: JSONResponse(error.model_dump(), error.error.code)


def _count_tokens_past_the_cache_of_images() -> None:
    """Make the counting of tokens leave vLLM's cache of images alone: it notes them as known to the engine, which never
    gets them, and then fails the next message that has one.
    """
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
    from vllm.renderers.online_renderer import OnlineRenderer

    counts = ContextVar("counts", default=False)
    count, render = AnthropicServingMessages.count_tokens, OnlineRenderer.render_chat

    async def counted(*args: Any) -> Any:
        before = counts.set(True)
        try:
            return await count(*args)
        finally:
            counts.reset(before)

    async def rendered(*args: Any, skip_mm_cache: bool = False) -> Any:
        return await render(*args, skip_mm_cache=skip_mm_cache or counts.get())

    AnthropicServingMessages.count_tokens = counted
    OnlineRenderer.render_chat = rendered


def _leave_client_faults_out_of_the_log() -> None:
    """vLLM logs a traceback for all that it refuses of these; the gateway's own log has what is the client's fault."""

    def is_kept(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, Exception) or reported(error)[0] >= 500

    for module in ("openai.chat_completion.serving", "openai.completion.serving", "anthropic.api_router"):
        logging.getLogger(f"vllm.entrypoints.{module}").addFilter(is_kept)


def _bound_whitespace_of_tool_calls() -> None:
    """Make `disable_any_whitespace` hold for forced tool calls too: vLLM reads it for JSON schemas only, and a model
    then may write blanks between arguments until its limit.
    """
    from vllm.tool_parsers.abstract_tool_parser import ToolParser

    unbounded = ToolParser.get_structural_tag

    def bounded(self: Any, *args: Any, **kwargs: Any) -> Any:
        tag = unbounded(self, *args, **kwargs)
        _set_everywhere(tag, "max_whitespace_cnt", 1)  # zero is not legal there
        return tag

    ToolParser.get_structural_tag = bounded


def _set_everywhere(node: Any, name: str, value: Any) -> None:
    """Set the field `name` of every model inside a pydantic model that has it."""
    if isinstance(node, pydantic.BaseModel):
        if name in type(node).model_fields:
            setattr(node, name, value)
        for field in type(node).model_fields:
            _set_everywhere(getattr(node, field), name, value)
    elif isinstance(node, list | tuple):
        for item in node:
            _set_everywhere(item, name, value)


def _report_validation_errors_as_data(app: Any) -> None:
    """Replace vLLM's text about a malformed body, which repeats the input, by data that the dialect reads."""
    from fastapi.exceptions import RequestValidationError
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from vllm.entrypoints.serve.exception_handling.handlers.validation import clean_loc_for_param

    async def report(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse(validation_error(first["type"], first["msg"], clean_loc_for_param(first["loc"])), 400)

    app.add_exception_handler(RequestValidationError, report)
    app.middleware_stack = None  # it was built with the old handler; the next request builds it anew
