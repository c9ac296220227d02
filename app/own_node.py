"""The node on which this process runs. Private parts of Ray 2.60; the one file that knows them."""

import logging

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]

logger = logging.getLogger("portico.own_node")

ASK_SECONDS = 5.0


def is_draining() -> bool:
    """Whether the node is told to end once its work is done elsewhere. Blocks. False where Ray does not say."""
    if not ray.is_initialized():  # to ask for its context would start one
        return False
    context = ray.get_runtime_context()
    try:
        draining = GcsClient(address=context.gcs_address).get_draining_nodes(timeout=ASK_SECONDS)
        return bool(context.get_node_id() in draining)
    except Exception:  # such as where the head is away
        logger.debug("Ray does not say which nodes are to end", exc_info=True)
        return False
