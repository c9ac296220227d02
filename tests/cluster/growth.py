"""Which machines Ray's own autoscaler starts for replicas. The one file here that knows its internals."""

from collections.abc import Iterable
from typing import Any

from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.common_pb2 import LabelSelectorOperator

IN = LabelSelectorOperator.LABEL_OPERATOR_IN


def machines_for(node_types: dict[str, Any], replicas: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many of each of `node_types` are started, where none runs and none must, for replicas of these actor options.

    Raises AssertionError where a replica would wait for ever.
    """
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs={
                name: NodeTypeConfig(
                    name=name,
                    min_worker_nodes=0,
                    max_worker_nodes=one.get("max_workers", 0),
                    resources=one["resources"],
                    labels=one.get("labels", {}),
                )
                for name, one in node_types.items()
            },
            resource_requests=ResourceRequestUtil.group_by_count([_demand(options) for options in replicas]),
        )
    )
    assert reply.infeasible_resource_requests == []
    return {request.instance_type: request.count for request in reply.to_launch}


def _demand(options: dict[str, Any]) -> Any:
    selectors = [
        one["label_selector"] for one in (options, *options.get("fallback_strategy", [])) if one.get("label_selector")
    ]
    return ResourceRequestUtil.make(
        {"CPU": options["num_cpus"], "GPU": options.get("num_gpus", 0)},
        label_selectors=[[(key, IN, [value]) for key, value in one.items()] for one in selectors],
    )
