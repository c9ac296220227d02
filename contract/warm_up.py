"""What a replica that starts says of itself: that its model is loaded, and that it answers its first request.

Serve itself knows only that the constructor runs.
"""

import logging

from contract.serve_replica import replica_id

logger = logging.getLogger("portico.warm_up")


def say_warming_up() -> None:
    """For the constructor of a replica's class. No effect without Serve."""
    replica = replica_id()
    if replica is None:
        return
    from contract import cluster_store  # noqa: PLC0415 - engines run without Ray, too

    deployment = replica.deployment_id
    try:
        cluster_store.put(_key(deployment.app_name, deployment.name), replica.unique_id.encode())
    except Exception:  # who waits sees one stage less
        logger.warning("the stage of the start could not be reported", exc_info=True)


def is_warming_up(app_name: str, deployment: str, replica_id: str) -> bool:
    """Whether that replica, which starts, has said so. Of several it is the one that said so last."""
    from contract import cluster_store  # noqa: PLC0415 - as above

    return cluster_store.get(_key(app_name, deployment)) == replica_id.encode()


def _key(app_name: str, deployment: str) -> str:
    return f"warming-up:{app_name}:{deployment}"
