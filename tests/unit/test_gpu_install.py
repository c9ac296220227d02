"""`make gpu`: what it refuses and says before it installs anything. nvidia-smi and Python's venv are stand-ins here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.commands import driver
from contract.project import PROJECT_FOLDER

L4 = "NVIDIA L4, 580.82.07, 8.9, 23034, 475"
# Its `-m venv FOLDER` makes a folder whose pip and uv write down what they are asked for.
PYTHON = """#!/bin/sh
[ "$2" = venv ] || exec {python} "$@"
mkdir -p $3/bin
for name in pip uv; do
    printf '#!/bin/sh\\necho "%s $*" >> installed.log\\n' $name > $3/bin/$name
    chmod +x $3/bin/$name
done
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile, the locks, and the module that checks the driver."""
    for name in ("Makefile", "pyproject.toml", "app/__init__.py", "app/commands/__init__.py", "app/commands/driver.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_FOLDER / name, tmp_path / name)
    shutil.copytree(PROJECT_FOLDER / "locks", tmp_path / "locks")
    executable(tmp_path / "python", PYTHON.format(python=sys.executable))
    return tmp_path


def nvidia_smi(folder: Path, says: str, status: int = 0) -> Path:
    """A stand-in; its folder is for PATH."""
    return executable(folder / "tools" / "nvidia-smi", f"#!/bin/sh\necho '{says}'\nexit {status}\n").parent


def make(project: Path, target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = f"{project / 'tools'}:/usr/bin:/bin"
    command = ["make", f"PYTHON={project / 'python'}", target, *arguments]
    return subprocess.run(
        command, cwd=project, env=environment | {"PATH": path}, capture_output=True, text=True, check=False
    )


def installed(project: Path) -> list[str]:
    log = project / "installed.log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("says", "status", "reported"),
    [
        (None, 0, "nvidia-smi is not here, so NVIDIA's driver is not installed. The packages are for CUDA 13.0: they "
                  "need an NVIDIA GPU and its driver 580 or newer"),
        ("NVIDIA L4, 570.133.20, 8.9, 23034, 475", 0, "The driver is 570.133.20. The packages are for CUDA 13.0"),
        ("No devices were found", 6, "nvidia-smi finds no GPU: No devices were found. The packages are for CUDA 13.0"),
        ("", 0, "nvidia-smi finds no GPU: it says nothing"),
        ("Tesla V100-SXM2-16GB, 580.82.07, 7.0, 16384, 300", 0, "Tesla V100-SXM2-16GB (7.0): CUDA 13.0 needs compute "
                                                               "capability 7.5 or newer"),
    ],
    ids=["no driver", "an old driver", "no GPU", "silence", "an old GPU"],
)  # fmt: skip
def test_where_a_gpu_does_not_fit_it_says_why_and_installs_nothing(
    project: Path, says: str | None, status: int, reported: str
) -> None:
    if says is not None:
        nvidia_smi(project, says, status)
    result = make(project, "gpu")
    assert result.returncode != 0
    assert reported in result.stderr
    assert "make serve" in result.stderr  # what goes without a GPU
    assert installed(project) == []
    assert not (project / ".venv").exists()


def test_it_installs_the_lock_and_the_libraries_of_another_cuda_apart(project: Path) -> None:
    nvidia_smi(project, L4)
    result = make(project, "gpu")
    assert result.returncode == 0, result.stderr
    assert "NVIDIA L4: 22.0 GiB, driver 580.82.07, for packages of CUDA 13.0." in result.stdout
    assert "serve serve_configs/one-gpu-chat.yaml" in result.stdout
    lines = installed(project)
    assert [line.partition(" -r ")[2] for line in lines if " -r " in line] == [
        "locks/uv.txt", "locks/gpu.txt", "locks/cuda12.txt",
    ]  # fmt: skip
    assert all("--require-hashes" in line for line in lines if " -r " in line)
    assert "--target .venv/cuda12" in lines[2]
    assert (project / ".venv" / "gpu").exists()


def test_one_folder_has_one_kind_of_packages_and_the_other_is_refused_by_name(project: Path) -> None:
    nvidia_smi(project, L4)
    (project / ".venv").mkdir()
    (project / ".venv" / "torch").touch()
    result = make(project, "gpu")
    assert result.returncode != 0
    assert ".venv has the packages for CPUs, which these would break." in result.stdout
    assert "make gpu VENV=.venv-gpu" in result.stdout
    assert installed(project) == []

    assert make(project, "gpu", "VENV=.venv-gpu").returncode == 0
    refused = make(project, ".venv-gpu/torch", "VENV=.venv-gpu")
    assert refused.returncode != 0
    assert "make serve VENV=.venv-cpu" in refused.stdout


def test_a_driver_that_does_not_know_every_field_counts_the_whole_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = nvidia_smi(tmp_path, "NVIDIA L4, 525.60.13, [N/A], 23034, [N/A]")
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    (gpu,) = driver.gpus()
    assert (gpu.capability, round(gpu.memory_gib, 2)) == (0.0, 22.49)


def test_the_lock_s_cuda_is_that_of_torch() -> None:
    text = (PROJECT_FOLDER / "locks" / "gpu.txt").read_text()
    assert f"cuda-toolkit=={driver.cuda_of(text)}." in text
    with pytest.raises(ValueError, match="no nvidia-cuda-runtime"):
        driver.cuda_of("torch==2.13.0")
