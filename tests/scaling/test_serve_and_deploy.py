"""A service from its start by name to its end by command: `portico serve MODEL`, `status`, `deploy`, `stop`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from app.cli.arguments import Status
from contract.project import PROJECT_FOLDER
from tests.conftest import wait_ready
from tests.own_ports import free_port

START_SECONDS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("by-name")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """Of the command: nothing of the user's, and a short path for Ray's sockets."""
    ray_folder = tempfile.mkdtemp(prefix="portico-")
    unset = ("RAY_ADDRESS", "OPENAI_BASE_URL", "OPENAI_API_KEY", "RAY_AUTH_MODE")
    ours = {"XDG_CONFIG_HOME": str(folder / "config"), "RAY_TMPDIR": ray_folder, "PYTHONUNBUFFERED": "1"}
    yield {name: value for name, value in os.environ.items() if name not in unset} | ours
    shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture(scope="module")
def process(folder: Path, port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`portico serve espeak-ng`, ready."""
    command = [sys.executable, "-m", "app", "serve", "espeak-ng", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT_FOLDER, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_ready(port, process, folder / "log", START_SECONDS)
        yield process
    finally:
        if process.poll() is None:
            for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                one.kill()
        process.wait()


def portico(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(
        command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def served(environment: dict[str, str], port: int) -> dict[str, str]:
    """The models, and the state of each."""
    result = portico(environment, "status", "--port", str(port), "--json")
    return {one["name"]: one["state"] for one in json.loads(result.stdout)["models"] if one["name"] != "gateway"}


def written(folder: Path) -> Path:
    return folder / "config" / "portico" / "espeak-ng.yaml"


def changed(folder: Path, change: Any) -> Path:
    """The file that `serve` wrote, with `change` made in it."""
    content = yaml.safe_load(written(folder).read_text())
    change(content)
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_model_that_is_named_is_served(
    process: subprocess.Popen[bytes], folder: Path, port: int, environment: dict[str, str]
) -> None:
    assert served(environment, port) == {"espeak-ng": "ready"}
    said = (folder / "log").read_text()
    assert f"Wrote {written(folder)}" in said
    result = portico(environment, "smoke", f"http://127.0.0.1:{port}/v1", "--json")
    good = {one["route"]: one["good"] for one in json.loads(result.stdout)}
    assert good["/v1/audio/speech"]
    assert all(good.values())


def test_deploy_changes_what_is_served_and_waits_until_it_is(
    process: subprocess.Popen[bytes], folder: Path, port: int, environment: dict[str, str]
) -> None:
    path = changed(folder, lambda content: content["applications"][0]["args"]["models"][0].update(id="robot"))
    result = portico(environment, "deploy", str(path), "--port", str(port))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{path} is served." in result.stdout
    assert served(environment, port) == {"robot": "ready"}
    status = json.loads(portico(environment, "status", "--port", str(port), "--json").stdout)
    assert status["config"] == str(path)


def test_deploy_says_where_a_model_failed(
    process: subprocess.Popen[bytes], folder: Path, port: int, environment: dict[str, str]
) -> None:
    (folder / "no-model").mkdir()
    empty = {"engine": "vits", "source": str(folder / "no-model")}  # what only its start finds
    path = changed(folder, lambda content: content["applications"][0]["args"]["models"][0].update(empty))
    result = portico(environment, "deploy", str(path), "--port", str(port))
    assert result.returncode == Status.NOT_RIGHT
    assert "failed" in result.stdout
    assert "Not every model" in result.stdout


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda content: content["http_options"].update(port=1), "Serve changes that only at a start"),
        (lambda content: content["applications"][0]["args"].update(modles=[]), "modles: there is no such field"),
    ],
)
def test_deploy_refuses_a_file_that_cannot_be(
    process: subprocess.Popen[bytes], folder: Path, port: int, environment: dict[str, str], change: Any, reported: str
) -> None:
    before = served(environment, port)
    result = portico(environment, "deploy", str(changed(folder, change)), "--port", str(port))
    assert result.returncode == Status.WRONG
    assert reported in result.stderr
    assert served(environment, port) == before


def test_stop_of_an_address_ends_what_is_served_there_and_not_its_ray(
    process: subprocess.Popen[bytes], port: int, environment: dict[str, str]
) -> None:
    arguments = [one for child in psutil.Process(process.pid).children(recursive=True) for one in child.cmdline()]
    address = next(one.partition("=")[2] for one in arguments if one.startswith("--gcs-address="))
    result = portico(environment, "stop", "--address", address, "--yes")
    assert result.returncode == 0, result.stderr
    assert "Ray itself goes on" in result.stdout
    left = portico(environment, "status", "--address", address)
    assert (left.returncode, "espeak-ng" in left.stdout) == (Status.NOT_RIGHT, False)
    refused = portico(environment, "deploy", str(PROJECT_FOLDER / "serve_configs" / "tiny.yaml"), "--address", address)
    assert refused.returncode == Status.NO_SERVICE
    assert "nothing is served on it" in refused.stderr


def test_stop_ends_it_and_all_that_it_started(
    process: subprocess.Popen[bytes], port: int, environment: dict[str, str]
) -> None:
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    result = portico(environment, "stop", "--port", str(port))
    assert result.returncode == 0, result.stderr
    assert f"The service on port {port} has stopped." in result.stdout
    assert process.wait(10) == 0
    assert [one.name() for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert portico(environment, "status", "--port", str(port)).returncode == Status.NO_SERVICE
