"""What the page shows of the models that a key may use."""

import time
from collections.abc import Mapping
from typing import Any

from app.telemetry.acceptance import Acceptance
from app.telemetry.loads import ModelLoad
from app.upstream.registry import Model, Readiness
from app.upstream.start import Start


def model_card(
    model: Model,
    start: Start | None,
    acceptance: Mapping[str, Acceptance] | None,
    loads: Mapping[str, ModelLoad] | None,
) -> dict[str, Any]:
    """One model: how it is, what it can do, what it has to do. None and null: not known now."""
    entry, scale = model.entry, model.entry.scale
    starting = {"stage": start.stage, "seconds": max(0.0, time.time() - start.began)} if start else None
    card: dict[str, Any] = {
        "id": model.id,
        "parent": entry.id if model.adapter else None,
        "task": entry.task,
        "engine": entry.engine,
        "state": "starting" if model.readiness is Readiness.STARTING else model.state,
        "start": starting,
        "error": model.error or None,
        "replicas": {"running": model.running, "min": scale.min_replicas, "max": scale.max_replicas},
        "profile": model.known.card() if model.known else None,
        "speculation": None,
        "load": None if loads is None else loads.get(model.id, ModelLoad()),
    }
    if model.known is not None and model.known.speculation is not None:
        drafted = (acceptance or {}).get(entry.id, Acceptance())
        card["speculation"] = model.known.speculation | drafted.card()
    return card
