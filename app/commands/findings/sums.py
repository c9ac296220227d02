"""What all models that run at once reserve, where this machine has less: some would wait for ever.

A model that scales to zero has its turn beside those that always run.
"""

from collections.abc import Iterator, Sequence

from app.commands.findings.finding import Finding
from app.commands.findings.resources import cpus_here, gpus_here
from app.config.inventory import least_gpus
from app.config.model_entry import ModelEntry
from app.config.service import Config


def sum_findings(config: Config) -> Iterator[Finding]:
    """For a configuration whose replicas run on this machine only."""
    always = [model for model in config.models if model.scale.min_replicas]
    sleepers = [model for model in config.models if not model.scale.min_replicas]
    gpus = gpus_here()
    if not gpus and any(model.resources.num_gpus for model in config.models):
        return  # the file is for another machine
    turns = [[*always, one] for one in sleepers] or [always]
    ingress = config.ingress.replicas * config.ingress.num_cpus
    cpus = max(ingress + sum(_replicas(model) * model.resources.num_cpus for model in models) for models in turns)
    if (has := cpus_here()) and round(cpus, 6) > has:
        yield Finding(
            "models",
            f"with the gateway they reserve {cpus:g} CPUs at once, and this machine has {has}. Lower "
            "resources.num_cpus: it only reserves, so that several models may share a core",
        )
    needed = max(_least_gpus(models) for models in turns)
    if gpus and needed > gpus:
        yield Finding(
            "models",
            f"they reserve {needed} GPUs at once, and this machine has {gpus}. Lower resources.num_gpus, of which "
            "several may share a GPU",
        )


def _replicas(model: ModelEntry) -> int:
    """That run at once, when it is its turn."""
    return max(1, model.scale.min_replicas)


def _least_gpus(models: Sequence[ModelEntry]) -> int:
    return least_gpus((_replicas(model), model.resources.num_gpus) for model in models)
