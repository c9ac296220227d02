"""Asks and tells the Serve of a running service: `python -m tests.scaling.cluster COMMAND ADDRESS ...`.

In a process of its own, so that pytest's stays without Ray.

    status ADDRESS         prints deployments and the application: {name: {"status": ..., "replicas": {id: state}}}
    deploy ADDRESS FILE    deploys a config file as `serve deploy` does, and does not wait
    ongoing ADDRESS NAME   prints how many requests each replica of a deployment works on
    stats ADDRESS NAME     prints what a replica of a deployment tells the autoscaler
    kill ADDRESS NAME      kills the replicas of a deployment
"""

import json
import sys
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

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


def replicas(deployment: str) -> list[Any]:
    names = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]
    begin = f"SERVE_REPLICA::{APP}#{deployment}#"
    return [ray.get_actor(name, namespace=NAMESPACE) for name in names if name.startswith(begin)]


def main(command: str, address: str, rest: str = "") -> None:
    ray.init(address=address, namespace=NAMESPACE, logging_level="error", log_to_driver=False)
    if command == "status":
        print(json.dumps(status()))
    elif command == "deploy":
        content = yaml.safe_load(Path(rest).read_text())
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(content), _blocking=False)
    elif command == "ongoing":
        print(json.dumps(ray.get([one.get_num_ongoing_requests.remote() for one in replicas(rest)])))
    elif command == "stats":
        handle = serve.get_deployment_handle(rest, APP)
        print(json.dumps(handle.record_autoscaling_stats.remote().result()))
    elif command == "kill":
        for one in replicas(rest):
            ray.kill(one, no_restart=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
