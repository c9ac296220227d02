"""What of vLLM is imported ahead of an engine, and what its imports take along for nothing."""

from importlib import import_module

from deployments.imports import importing

NOT_USED = "sklearn"  # transformers takes it along, and so scipy, for a kind of decoding that vLLM does not leave to it


def import_engine() -> None:
    """Import what an engine on a CPU runs, with the commonest kind of models."""
    with importing(without=NOT_USED):
        for module in ("engine.core", "worker.cpu_worker", "attention.backends.cpu_attn"):
            import_module(f"vllm.v1.{module}")
        import_module("vllm.model_executor.models.llama")
