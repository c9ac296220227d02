"""How vLLM answers an exception, and which exceptions it logs."""

import logging


def reported(error: Exception) -> tuple[int, bytes]:
    """The status and the body that vLLM answers for an exception."""
    from vllm.entrypoints.serve.exception_handling.error_response import create_error_response

    response = create_error_response(error)
    return int(response.error.code), response.model_dump_json().encode()


def leave_client_faults_out_of_the_log() -> None:
    """vLLM logs a traceback for all that it refuses of these; the gateway's own log has what is the client's fault."""

    def is_kept(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, Exception) or reported(error)[0] >= 500

    for module in ("openai.chat_completion.serving", "openai.completion.serving", "anthropic.api_router"):
        logging.getLogger(f"vllm.entrypoints.{module}").addFilter(is_kept)
