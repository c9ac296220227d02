"""What NVIDIA's driver says of this machine's GPUs, and whether the packages of a lock run on them.

`python3 -m app.commands.driver locks/gpu.txt`, before anything is installed: it needs the standard library only.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html: all CUDA of one major version runs
# on the driver of its first.
LEAST_DRIVER = {12: 525, 13: 580}
LEAST_CAPABILITY = {12: 7.0, 13: 7.5}  # CUDA 13 ends support of Volta, vLLM's CUDA 12 begins with it
FIELDS = ("name", "driver_version", "compute_cap", "memory.total", "memory.reserved")
SECONDS = 60  # nvidia-smi loads the driver where nothing else has
OTHERWISE = "Without such a GPU, `make serve` runs small models on CPUs."


class DriverError(RuntimeError):
    """There is no GPU that the packages run on. The message says why, and what to do."""


class Gpu(NamedTuple):
    """One GPU of this machine."""

    name: str
    driver: str
    capability: float
    memory_gib: float  # what programs can get


def gpus() -> list[Gpu]:
    """Those of this machine. Raises DriverError where there is no driver, or none that answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise DriverError("nvidia-smi is not here, so NVIDIA's driver is not installed")
    command = [program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(  # noqa: S603 - no shell, no input
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"nvidia-smi does not answer: {error}") from None
    lines = [line.split(", ") for line in result.stdout.splitlines() if line.count(", ") == len(FIELDS) - 1]
    if result.returncode != 0 or not lines:
        said = (result.stdout + result.stderr).strip().partition("\n")[0]
        raise DriverError(f"nvidia-smi finds no GPU: {said or 'it says nothing'}")
    return [_gpu(*line) for line in lines]


def _gpu(name: str, driver: str, capability: str, total: str, reserved: str) -> Gpu:
    return Gpu(name, driver, _number(capability), (_number(total) - _number(reserved)) / 1024)


def _number(text: str) -> float:
    """0 where an older driver does not know the field."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def cuda_of(lock: str) -> str:
    """The version of CUDA, such as 13.0, whose runtime a lock's text pins. Raises ValueError."""
    found = re.search(r"^nvidia-cuda-runtime==(\d+\.\d+)", lock, re.MULTILINE)
    if found is None:
        raise ValueError("the lock has no nvidia-cuda-runtime")
    return found[1]


def check(cuda: str) -> list[Gpu]:
    """The GPUs of this machine on which packages for a version of CUDA run. Raises DriverError where there are none."""
    major = int(cuda.partition(".")[0])
    driver, capability = LEAST_DRIVER[major], LEAST_CAPABILITY[major]
    needed = f"The packages are for CUDA {cuda}: they need an NVIDIA GPU and its driver {driver} or newer"
    try:
        found = gpus()
    except DriverError as error:
        raise DriverError(
            f"{error}. {needed}, from https://www.nvidia.com/drivers or your distribution. {OTHERWISE}"
        ) from None
    if _number(found[0].driver.partition(".")[0]) < driver:
        raise DriverError(
            f"The driver is {found[0].driver}. {needed}. Update it, then restart the machine. {OTHERWISE}"
        )
    able = [gpu for gpu in found if gpu.capability == 0 or gpu.capability >= capability]
    if not able:
        names = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in found)
        raise DriverError(f"{names}: CUDA {cuda} needs compute capability {capability} or newer (Turing). {OTHERWISE}")
    return able


def main(arguments: list[str]) -> int:
    cuda = cuda_of(Path(arguments[0]).read_text())
    try:
        able = check(cuda)
    except DriverError as error:
        print(error, file=sys.stderr)
        return 1
    for gpu in able:
        print(f"{gpu.name}: {gpu.memory_gib:.1f} GiB, driver {gpu.driver}, for packages of CUDA {cuda}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
