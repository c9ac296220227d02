"""What the models of prod.yaml need of machines, for the tests of Kubernetes' groups and of the clouds' node types."""

from typing import Any

from app.builder import ingress_deployment, model_deployment
from app.config.model_entry import ModelEntry
from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER

PROD, CONFIG = read_serve_config(PROJECT_FOLDER / "serve_configs" / "prod.yaml")


def accelerator(model: ModelEntry) -> str:
    """The GPU that its entry likes best, by Ray's name."""
    return model.resources.accelerator_types[0]


def models_by_accelerator() -> dict[str, list[ModelEntry]]:
    found: dict[str, list[ModelEntry]] = {}
    for model in CONFIG.models:
        found.setdefault(accelerator(model), []).append(model)
    return found


def model_options(model: ModelEntry) -> dict[str, Any]:
    """What Serve requests of Ray for one of its replicas."""
    options: dict[str, Any] = model_deployment(model).ray_actor_options
    return options


def gateway_options() -> dict[str, Any]:
    """And for a replica of the gateway."""
    options: dict[str, Any] = ingress_deployment(CONFIG).ray_actor_options
    return options


def least_gpus(models: list[ModelEntry]) -> float:
    """GPUs that all of them need at once with as few replicas as they may have."""
    return sum(model.resources.num_gpus * model.scale.min_replicas for model in models)


def most_gpus(models: list[ModelEntry]) -> float:
    """And with as many."""
    return sum(model.resources.num_gpus * model.scale.max_replicas for model in models)
