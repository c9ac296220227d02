"""What this machine has for models: cores, memory, GPUs."""

import os
from typing import NamedTuple

import psutil

from app.commands import driver

GIB = 2**30
FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # flags of CPUs; without one float32 is faster
BFLOAT16_CAPABILITY = 8.0  # of a GPU


class Machine(NamedTuple):
    """Sizes are in GiB."""

    cores: int
    free_memory: float
    gpus: tuple[driver.Gpu, ...]
    fast_bfloat16: bool  # on CPUs

    @property
    def gpu_memory(self) -> float:
        """Of the smallest GPU."""
        return min(gpu.memory_gib for gpu in self.gpus)

    @property
    def gpu_bfloat16(self) -> bool:
        """Whether every GPU computes in bfloat16. One whose capability the driver does not tell is taken to."""
        return all(gpu.capability == 0 or gpu.capability >= BFLOAT16_CAPABILITY for gpu in self.gpus)

    def __str__(self) -> str:
        gpus = ", ".join(f"{gpu.name} ({gpu.memory_gib:.1f} GiB)" for gpu in self.gpus) or "no GPU"
        return f"{self.cores} cores, {self.free_memory:.1f} GiB of memory free, {gpus}"


def this_machine() -> Machine:
    """What is here. GPUs count only where the packages for them are installed."""
    try:
        gpus = tuple(driver.gpus()) if has_gpu_packages() else ()
    except driver.DriverError:
        gpus = ()
    return Machine(len(os.sched_getaffinity(0)), psutil.virtual_memory().available / GIB, gpus, _fast_bfloat16())


def idle_gpus() -> list[driver.Gpu]:
    """GPUs that are here and are not used, since the packages are those for CPUs."""
    try:
        return [] if has_gpu_packages() else driver.gpus()
    except driver.DriverError:
        return []


def has_gpu_packages() -> bool:
    """Whether this environment has the packages of locks/gpu.txt, which bring CUDA's runtime."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - for this only

    try:
        version("nvidia-cuda-runtime")
    except PackageNotFoundError:
        return False
    return True


def _fast_bfloat16() -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        flags = ""
    return bool(FAST_BFLOAT16 & set(flags.split()))
