"""How many replicas a model should have: the policy that Serve's controller asks for every model that scales.

Serve itself then keeps the bounds and the delays. The decision is a plain function of the `Load`.
"""

import math
from typing import Any, NamedTuple

from contract.protocol import KV_CACHE_USAGE

QUEUE_WEIGHT = 2.0  # who waits for a replica counts twice: every replica is full, and more are on their way


class Load(NamedTuple):
    """What a model has to do. Requests are means over the look-back time."""

    replicas: int  # that run
    target_replicas: int  # the last decision
    ongoing: float  # requests in replicas
    queued: float  # requests that wait for a replica
    kv_cache_usage: tuple[float, ...] = ()  # of each replica that reports it


class Bounds(NamedTuple):
    """What the configuration says."""

    min_replicas: int
    max_replicas: int
    target_ongoing_requests: float  # per replica
    kv_cache_target: float = 1.0  # mean usage over the replicas


def decide(load: Load, bounds: Bounds) -> int:
    """The number of replicas that `load` needs."""
    return max(bounds.min_replicas, min(_wanted(load, bounds), bounds.max_replicas))


def _wanted(load: Load, bounds: Bounds) -> int:
    requests = load.ongoing + load.queued
    if load.replicas == 0:  # asleep, or on its way: what was begun goes on, whether or not who woke it still waits
        return max(load.target_replicas, 1 if requests > 0 else 0)
    if requests <= 0:
        return 0  # usage that a replica reported last is of no request any more
    by_requests = (load.ongoing + QUEUE_WEIGHT * load.queued) / bounds.target_ongoing_requests
    by_memory = sum(load.kv_cache_usage) / bounds.kv_cache_target
    return max(1, _up(by_requests), _up(by_memory))


def _up(value: float) -> int:
    """Rounded up, but for the noise of a mean."""
    return math.ceil(value - 1e-6)


class ApplicationPolicy:
    """The policy as Serve calls it, for all models at once: `autoscaling_policy` of an application.

    Not one for each deployment: Serve 2.60 forgets the autoscaling of all deployments when an application without a
    policy of its own is built anew, and takes up again only those that changed. With one, a model that an update leaves
    alone goes on scaling.
    """

    def __call__(self, contexts: dict[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """`contexts` are Serve's AutoscalingContexts by deployment. Returns the replicas of each, and no state."""
        return {deployment: _decide_on(context) for deployment, context in contexts.items()}, {}


def _decide_on(context: Any) -> int:
    requests, queued = context.total_num_requests, context.total_queued_requests or 0.0
    usage = (context.aggregated_metrics or {}).get(KV_CACHE_USAGE, {})
    load = Load(
        context.current_num_replicas,
        context.target_num_replicas,
        max(0.0, requests - queued),
        queued,
        tuple(usage.values()),
    )
    bounds = Bounds(
        context.capacity_adjusted_min_replicas,
        context.capacity_adjusted_max_replicas,
        context.config.get_target_ongoing_requests(),
        **context.config.policy.policy_kwargs,  # the model's own, from the builder
    )
    return decide(load, bounds)
