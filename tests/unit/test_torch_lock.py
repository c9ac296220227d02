"""torch's CPU build: installed only where its hash is that of the lock, whichever place it comes from."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from contract.project import PROJECT_FOLDER

LOCK = "torch==2.13.0+cpu --hash=sha256:{}\n"
# It lets nothing but torch be installed, by the pip of the tests.
PIP = """#!/bin/sh
echo "$*" >> pip.log
case "$*" in *torch-cpu.txt*) exec {python} -m pip "$@" ;; esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile, and beside it a place of wheels with one that only calls itself torch."""
    shutil.copy(PROJECT_FOLDER / "Makefile", tmp_path)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "uv.txt").touch()
    pip = tmp_path / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text(PIP.format(python=sys.executable))
    pip.chmod(0o755)
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(wheel_of(tmp_path), "w") as wheel:
        wheel.writestr("torch.py", "")
        wheel.writestr(
            "torch-2.13.0+cpu.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n"
        )
        wheel.writestr("torch-2.13.0+cpu.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("torch-2.13.0+cpu.dist-info/RECORD", "")
    return tmp_path


def wheel_of(project: Path) -> Path:
    return project / "wheels" / "torch-2.13.0+cpu-py3-none-any.whl"


def make(project: Path) -> subprocess.CompletedProcess[str]:
    """`make .venv/torch`, with no index but the place of wheels."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    places = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels")}
    return subprocess.run(
        ["make", "PYTHON=true", ".venv/torch"],
        cwd=project,
        env=environment | places | {"PIP_TARGET": str(project / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wheel_of_another_hash_is_refused_aloud_and_asked_for_nowhere_else(project: Path) -> None:
    (project / "locks" / "torch-cpu.txt").write_text(LOCK.format("0" * 64))
    result = make(project)
    assert result.returncode != 0
    assert "DO NOT MATCH THE HASHES" in result.stdout + result.stderr
    assert not (project / "installed").exists()
    assert "--index-url" not in (project / "pip.log").read_text()


def test_a_wheel_of_the_lock_s_hash_is_installed(project: Path) -> None:
    (project / "locks" / "torch-cpu.txt").write_text(
        LOCK.format(hashlib.sha256(wheel_of(project).read_bytes()).hexdigest())
    )
    result = make(project)
    assert result.returncode == 0, result.stderr
    assert (project / "installed" / "torch.py").exists()


def test_where_no_place_has_it_the_index_of_cpu_builds_is_asked_with_the_same_hashes(project: Path) -> None:
    wheel_of(project).unlink()
    (project / "locks" / "torch-cpu.txt").write_text(LOCK.format("0" * 64))
    assert make(project).returncode != 0  # there is none here either
    last = (project / "pip.log").read_text().splitlines()[-1]
    assert "--index-url https://download.pytorch.org/whl/cpu" in last
    assert "--require-hashes" in last


def test_the_lock_has_a_hash_for_every_python_and_platform() -> None:
    lock = (PROJECT_FOLDER / "locks" / "torch-cpu.txt").read_text()
    assert lock.count("--hash=sha256:") == 4 * 2
