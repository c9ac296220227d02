"""Queries and changes the Serve of a running service: `python -m tests.scaling.cluster ADDRESS`.

In a process of its own, so that pytest's stays without Ray. Each line that it reads is a command, as a JSON list; each
is answered by a line of JSON:

    status            deployments and the application: {name: {"status": ..., "replicas": {id: state}}}
    deploy FILE       deploys a config file as `serve deploy` does, and does not wait
    ongoing NAME      how many requests each replica of a deployment works on
    stats NAME        what a replica of a deployment reports to the autoscaler
    pids              the processes of the replicas: {name: [pid]}
    residents NAME    the LoRA adapters that each replica of a deployment has loaded
    kill NAME         kills the replicas of a deployment
    held              what the gateway's replicas and the budget stores hold for requests that are under way
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from app.budgets.actor import NAME as STORE

APP = "portico"
NAMESPACE = "serve"


def status() -> dict[str, Any]:
    application = _get_global_client().get_serve_details()["applications"][APP]
    deployments = application["deployments"]
    return {APP: {"status": application["status"], "replicas": {}}} | {
        name: {
            "status": one["status"],
            "replicas": {replica["replica_id"]: replica["state"] for replica in one["replicas"]},
        }
        for name, one in deployments.items()
    }


def deploy(file: str) -> None:
    content = yaml.safe_load(Path(file).read_text())
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(content), _blocking=False)


def replicas(deployment: str) -> list[Any]:
    names = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]
    begin = f"SERVE_REPLICA::{APP}#{deployment}#"
    return [ray.get_actor(name, namespace=NAMESPACE) for name in names if name.startswith(begin)]


def ongoing(deployment: str) -> list[int]:
    counts: list[int] = ray.get([one.get_num_ongoing_requests.remote() for one in replicas(deployment)])
    return counts


def stats(deployment: str) -> Any:
    return serve.get_deployment_handle(deployment, APP).record_autoscaling_stats.remote().result()


def pids() -> dict[str, list[int]]:
    deployments = _get_global_client().get_serve_details()["applications"][APP]["deployments"]
    return {name: sorted(replica["pid"] for replica in one["replicas"]) for name, one in deployments.items()}


def residents_of(actor: Any) -> list[str]:
    """Runs in a replica of a model."""
    adapters: list[str] = actor._replica_impl._user_callable_wrapper._callable.engine.resident_adapters()
    return adapters


def residents(deployment: str) -> list[list[str]]:
    found: list[list[str]] = ray.get([one.__ray_call__.remote(residents_of) for one in replicas(deployment)])
    return found


def kill(deployment: str) -> None:
    for one in replicas(deployment):
        ray.kill(one, no_restart=True)


def held_by_gateway(actor: Any) -> dict[str, int]:
    """Runs in a replica of the gateway: what it holds, and how many tasks there are in its process."""
    gateway = actor._replica_impl._user_callable_wrapper._callable
    queues, budgets = gateway._queues, getattr(gateway._budgets, "parts", [])
    return {
        "pid": os.getpid(),
        "tasks": sum(isinstance(one, asyncio.Task) and not one.done() for one in gc.get_objects()),
        "places": sum(one.in_use for one in queues._queues.values()),
        "waiting": sum(one.waiting for one in queues._queues.values()),
        "open requests": queues.open_requests._open.total(),
        "admissions": sum(one._under_way for one in budgets),
        "slots of keys": sum(len(numbers) for one in budgets for numbers in one._ledger._slots.values()),
        "bytes of bodies": gateway._bodies._bytes,
    }


def slots_in_store(actor: Any) -> int:
    """Runs in a budget store: the slots of keys that it believes to be taken."""
    return int(actor._store.slots_held(time.monotonic_ns()))


def held() -> dict[str, Any]:
    stores = [one for one in ray.util.list_named_actors(all_namespaces=True) if one["name"].startswith(STORE)]
    return {
        "gateways": ray.get([one.__ray_call__.remote(held_by_gateway) for one in replicas("gateway")]),
        "stores": ray.get(
            [ray.get_actor(**one).__ray_call__.remote(slots_in_store) for one in stores]  # name and namespace
        ),
    }


COMMANDS: dict[str, Callable[..., Any]] = {
    "status": status,
    "deploy": deploy,
    "ongoing": ongoing,
    "stats": stats,
    "pids": pids,
    "residents": residents,
    "kill": kill,
    "held": held,
}


def main(address: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # Ray prints there what happens in the cluster
    ray.init(address=address, namespace=NAMESPACE, logging_level="error", log_to_driver=False)
    for line in sys.stdin:
        name, *rest = json.loads(line)
        print(json.dumps(COMMANDS[name](*rest)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
