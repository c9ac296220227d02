"""How much memory GPUs have, by the names that Ray gives their types."""

import math

# GiB that CUDA hands out: the least that torch's "has a total capacity of ..." says in public reports. On the box is
# more, of which error correction and the driver take a part. A100 is that with 40 GB.
MEMORY_GIB = {
    "T4": 14.56,
    "L4": 22.03,
    "A10G": 22.03,
    "L40S": 44.34,
    "A100": 39.25,
    "H100": 79.10,
    "H200": 139.70,
    "GeForce-RTX-3090": 23.50,
    "GeForce-RTX-4090": 23.50,
    "GeForce-RTX-5090": 31.36,
}


def memory_gib(gpu: str) -> float | None:
    """The memory of a GPU, in GiB. `gpu` is a Ray accelerator type, or a number of GiB; None where it is neither."""
    if gpu in MEMORY_GIB:
        return MEMORY_GIB[gpu]
    try:
        given = float(gpu)
    except ValueError:
        return None
    return given if 0 < given < math.inf else None
