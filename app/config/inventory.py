"""What the cluster has, as far as the configuration says, and whether the models' least replicas fit into it.

Only sums that no placement can satisfy are refused: whatever depends on which node is free is Ray's to find out.
"""

from collections.abc import Iterable
from itertools import chain, combinations
from typing import NamedTuple

from pydantic import Field

from contract.fields import PositiveInt, Strict

MAX_TYPES = 8  # of accelerators; every set of them is looked at


class Cluster(Strict):
    """An inventory. Left out, nothing is added up."""

    gpus: dict[str, PositiveInt] = Field(
        {}, max_length=MAX_TYPES, description="Ray's accelerator type -> how many of them the cluster has at most"
    )


class Need(NamedTuple):
    """What one model needs."""

    model_id: str
    replicas: int  # that run at once; none where a model has its turn
    num_gpus: float  # each
    accelerator_types: list[str]  # where they may run; empty: anywhere


def check_fit(cluster: Cluster, needs: Iterable[Need]) -> None:
    """Raises ValueError, naming the models, where `needs` cannot fit into `cluster`."""
    if not cluster.gpus:
        return
    wanted = [need for need in needs if need.num_gpus]
    for need in wanted:
        if need.accelerator_types and not set(need.accelerator_types) & set(cluster.gpus):
            raise ValueError(
                f"{need.model_id} runs on {' or '.join(need.accelerator_types)}, and cluster.gpus has only "
                f"{', '.join(sorted(cluster.gpus))}"
            )
    for types in _sets(cluster.gpus):
        bound = [need for need in wanted if _types(need, cluster) <= types]
        has = sum(cluster.gpus[name] for name in types)
        _check_sum(sorted(types), has, [need for need in bound if need.replicas])
        for need in bound:  # a model of mode flex has its turn beside those that always run
            _check_sum(sorted(types), has, [n for n in bound if n.replicas or n == need])


def has_room(cluster: Cluster, needs: Iterable[Need], model_id: str) -> bool:
    """Whether one more replica of a model fits beside all of `needs`; false where the inventory is not known."""
    one_more = [need._replace(replicas=need.replicas + (need.model_id == model_id)) for need in needs]
    try:
        check_fit(cluster, one_more)
    except ValueError:
        return False
    return bool(cluster.gpus)


def _check_sum(types: list[str], has: int, needs: list[Need]) -> None:
    needed = least_gpus([(max(1, need.replicas), need.num_gpus) for need in needs])
    if needed > has:
        message = ", ".join(f"{n.model_id} {max(1, n.replicas)} x {n.num_gpus:g}" for n in needs)
        raise ValueError(
            f"cluster.gpus: the models that run on {' or '.join(types)} need at least {needed} GPUs ({message}), and "
            f"there are {has}. Lower their min_replicas or num_gpus, let some run elsewhere, or add GPUs"
        )


def least_gpus(demands: Iterable[tuple[int, float]]) -> int:
    """A lower bound on the GPUs for so many replicas of so much each: no placement needs fewer."""
    whole, thousandths, large = 0, 0, 0
    for replicas, num_gpus in demands:
        if num_gpus >= 1:
            whole += replicas * int(num_gpus)
        else:
            thousandths += replicas * round(num_gpus * 1000)
            large += replicas * (num_gpus > 0.5)  # two of these never share a GPU
    return whole + max(-(-thousandths // 1000), large)


def _types(need: Need, cluster: Cluster) -> set[str]:
    return set(need.accelerator_types) & set(cluster.gpus) or set(cluster.gpus)


def _sets(names: Iterable[str]) -> list[set[str]]:
    names = list(names)
    return [set(one) for one in chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1))]
