"""How vLLM's processes log: the server's, which is the replica, the engine's and the workers'."""

import os
from pathlib import Path
from typing import Any

from contract.log_settings import VARIABLE

OWN = frozenset({"VLLM_CONFIGURE_LOGGING", "VLLM_LOGGING_CONFIG_PATH"})  # where one is set, vLLM logs as that says


def logging_arguments() -> dict[str, Any]:
    """Arguments of vLLM by which each of its processes logs as the replica does; none where this process does not."""
    if VARIABLE not in os.environ or not OWN.isdisjoint(os.environ):
        return {}
    configuration = str(Path(__file__).with_name("logging.json"))
    return {"logging_config": {"pylogging_config_file": configuration}, "use_tqdm_on_load": False}
