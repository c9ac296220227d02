"""What the readiness probe says of models."""

from collections.abc import Sequence
from typing import Any

from app.upstream.registry import Model, Readiness


def missing(models: Sequence[Model]) -> str:
    """Which of the models are not up, how far each is, and why those that failed did; empty where all are up."""
    parts = [_part(model) for model in models if model.readiness is not Readiness.VERIFIED]
    return f"Not every model is up. {'; '.join(parts)}." if parts else ""


def _part(model: Model) -> str:
    if model.readiness is Readiness.FAILED:
        return f"{model.id} failed: {model.error or 'no error is known'}"
    return f"{model.id} is starting ({model.stage}{f'; {model.error}' if model.error else ''})"


def state_card(model: Model) -> dict[str, Any]:
    """A model for a program that waits for it."""
    return {"id": model.id, "state": model.state, "error": model.error or None}
