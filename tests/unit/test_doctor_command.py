"""`portico doctor`: what it looks at on a machine, and what it says to do."""

import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import main
from app.cli.arguments import Status
from app.commands import doctor, driver
from app.commands.doctor import pins
from contract.project import PROJECT_FOLDER


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No service of this user's is found."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    status = main(["doctor", "--json", *arguments])
    return status, {one["about"]: one for one in json.loads(capsys.readouterr().out)}


def test_it_looks_at_all_that_a_service_needs(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = findings(capsys)
    assert {"portico", "Python", "system", "cores", "memory", "disk", doctor.SHARED_MEMORY, "open files", "GPU",
            "packages", "port 8000", "Ray's token", "HAProxy", "Chromium", "model hub"} <= set(found)  # fmt: skip
    assert {one["level"] for one in found.values()} <= {"right", "note", "wrong"}
    assert all(one["remedy"] for one in found.values() if one["level"] != "right")


def test_a_taken_port_is_wrong_and_the_remedy_names_it(capsys: pytest.CaptureFixture[str], taken: int) -> None:
    status, found = findings(capsys, "--port", str(taken))
    assert status == Status.NOT_RIGHT
    port = found[f"port {taken}"]
    assert port["level"] == "wrong"
    assert f"sport = {taken}" in port["remedy"]


def test_a_token_of_ray_that_others_may_read_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    for mode, level in ((0o644, "wrong"), (0o600, "right")):
        token.chmod(mode)
        _, found = findings(capsys)
        assert found["Ray's token"]["level"] == level
    assert "secret" not in json.dumps(found)


def test_the_table_says_what_to_do(capsys: pytest.CaptureFixture[str], taken: int) -> None:
    assert main(["doctor", "--port", str(taken)]) == Status.NOT_RIGHT
    shown = " ".join(capsys.readouterr().out.split())
    assert f"wrong port {taken} Address already in use" in shown
    assert "or set http_options.port" in shown


def test_packages_are_compared_with_the_lock_one_by_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpu.txt").write_text("pyyaml==0.0.1 \\\n    --hash=sha256:ab\nno-such-package==1 \\\n")
    (tmp_path / "gpu.txt").write_text("")
    monkeypatch.setattr(doctor, "LOCKS", tmp_path)
    status, found = findings(capsys)
    assert status == Status.NOT_RIGHT
    assert "the lock has 0.0.1" in found["packages"]["said"]
    lines = [one for one in doctor.examine() if one.about == "packages"]
    assert [one.said.partition(":")[0] for one in lines] == ["1 are missing", "1 have other versions"]
    assert all("`make` installs" in one.remedy for one in lines)


def test_pins_are_those_for_this_machine() -> None:
    lock = (
        "alpha==1.0 \\\n    --hash=sha256:00\n"
        "beta[extra]==2.0+cpu ; sys_platform == 'linux' \\\n"
        "gamma==3.0 ; sys_platform == 'win32' \\\n"
        "delta==4 ; python_full_version >= '3.11' and platform_machine != 's390x' \\\n"
    )
    assert pins(lock) == {"alpha": "1.0", "beta": "2.0+cpu", "delta": "4"}
    assert pins((PROJECT_FOLDER / "locks" / "cpu.txt").read_text())["ray"] == "2.60.0"


def test_a_gpu_without_the_packages_for_it_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "gpus", lambda: [driver.Gpu("NVIDIA L4", "580.82.07", 8.9, 22.03)])
    monkeypatch.setattr(doctor, "has_gpu_packages", lambda: False)
    _, found = findings(capsys)
    assert found["GPU"]["level"] == "note"
    assert "NVIDIA L4: 22.0 GiB" in found["GPU"]["said"]
    assert "make gpu" in found["GPU"]["remedy"]


def test_the_packages_for_gpus_on_a_machine_without_one_are_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu() -> list[driver.Gpu]:
        raise driver.DriverError("nvidia-smi is not here, so NVIDIA's driver is not installed")

    monkeypatch.setattr(driver, "gpus", no_gpu)
    monkeypatch.setattr(doctor, "has_gpu_packages", lambda: True)
    status, found = findings(capsys)
    assert status == Status.NOT_RIGHT
    assert found["GPU"]["level"] == "wrong"
    assert "they need an NVIDIA GPU and its driver 580 or newer" in found["GPU"]["remedy"]
