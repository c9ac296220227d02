"""vLLM's log: a request that it refuses leaves no traceback there, and a failure of its own does."""

import logging

import pytest

from deployments.vllm.internals.errors import leave_client_faults_out_of_the_log


def test_only_what_is_the_engine_s_fault_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("vllm.entrypoints.openai.chat_completion.serving")
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    leave_client_faults_out_of_the_log()
    for error in (ValueError("the prompt is too long"), RuntimeError("the GPU is lost")):
        try:
            raise error
        except (ValueError, RuntimeError):
            logger.exception("Error in chat completion stream generator.")
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["the GPU is lost"]
