"""What vLLM's engine reports after each of its steps, and the logger that it reports to."""

from typing import Any


class EngineReports:
    """What the engine's process reports after each of its steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.kv_cache_usage: dict[int, float] = {}  # by the engine's index


def step_logger(reports: EngineReports) -> Any:
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
