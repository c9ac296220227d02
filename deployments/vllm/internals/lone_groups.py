"""torch's process groups of one process, as vLLM makes a dozen: one connection loop for all of them.

Each group of gloo's has a thread that looks a hundred times a second whether another process has sent something. In
a group of one nobody ever does. Written for torch 2.13.
"""

from datetime import timedelta
from typing import Any


def share_the_loop() -> None:
    """From now on, in this process and its forks."""
    from torch.distributed import distributed_c10d

    class Gloo(distributed_c10d.ProcessGroupGloo):  # type: ignore[misc]
        device: Any = None  # of every group of one; it has the loop

        def __init__(self, store: Any, rank: int, size: int, timeout: timedelta) -> None:
            if size > 1:
                super().__init__(store, rank, size, timeout)
                return
            Gloo.device = Gloo.device or Gloo.create_default_device()
            options = Gloo._Options()
            options._devices, options._timeout = [Gloo.device], timeout
            super().__init__(store, rank, size, options)

    distributed_c10d.ProcessGroupGloo = Gloo
