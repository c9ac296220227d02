"""What is changed in vLLM's server application: a route, the suffix of prompts, and errors about malformed bodies."""

from dataclasses import replace
from typing import Any

from contract.protocol import INPUT_TOKENS_ROUTE
from deployments.vllm.errors import validation_error
from deployments.vllm.fill_in import fill_in


def renderer_of(app: Any) -> Any:
    """What turns the requests of vLLM's own server application into prompts."""
    return app.state.online_renderer.renderer


def fill_in_the_middle(renderer: Any, engine: Any) -> None:
    """Have vLLM put a suffix into prompts of a model whose tokenizer has the tokens for it."""
    render = fill_in(engine.get_tokenizer())
    if render is not None and renderer.render_completion_suffix("", "") is None:
        renderer.render_completion_suffix = render


def count_input_tokens(app: Any, model: Any) -> None:
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


def report_validation_errors_as_data(app: Any) -> None:
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
