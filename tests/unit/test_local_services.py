"""How `status`, `logs` and `stop` find the services of this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import psutil
import pytest

from app.__main__ import main
from app.cli.arguments import Status
from app.commands.logs import last_lines, logs_of
from app.commands.services import LocalService, NoService, running, the_service, written_down
from app.commands.stop import stop


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends by Ctrl-C, with a child."""
    code = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "print('up', flush=True)\n"
        "try: time.sleep(100)\n"
        "except KeyboardInterrupt: child.kill(); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = psutil.Process(process.pid).children()
        yield process
        process.kill()
        for child in started:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def service(pid: int | None = None, **changes: object) -> LocalService:
    pid = pid or os.getpid()
    facts = {"config": "/etc/one.yaml", "host": "127.0.0.1", "port": 8000} | changes
    return LocalService(pid, psutil.Process(pid).create_time(), **facts)  # type: ignore[arg-type]


def test_a_service_is_found_while_it_runs_and_not_afterwards(temporary: Path) -> None:
    with written_down(service()):
        assert the_service() == the_service(8000) == service()
        (record,) = temporary.rglob("services/*.json")
        assert record.stat().st_mode & 0o777 == 0o600
    with pytest.raises(NoService, match=r"No service of yours runs on this machine\. `portico serve` starts one"):
        the_service()


def test_what_a_killed_service_left_is_removed(temporary: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record = service(sleeper.pid).write_down()
    assert len(running()) == 1
    sleeper.kill()
    sleeper.wait()
    assert running() == []
    assert not record.exists()


def test_another_process_with_the_same_number_is_not_it() -> None:
    record = service().write_down()
    record.write_bytes(orjson.dumps(orjson.loads(record.read_bytes()) | {"started": 1.0}))
    assert running() == []


def test_of_several_one_must_be_named(sleeper: subprocess.Popen[bytes]) -> None:
    service().write_down()
    other = service(sleeper.pid, port=8001, config="/etc/two.yaml")
    other.write_down()
    with pytest.raises(NoService, match=r"on 8000 \(one.yaml\), 8001 \(two.yaml\). Say which one: `--port 8000`"):
        the_service()
    assert the_service(8001) == other
    with pytest.raises(NoService, match=r"on port 9\. There are others, on 8000"):
        the_service(9)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/v1"),
        ("0.0.0.0", "http://127.0.0.1:8000/v1"),  # noqa: S104 - what a file says
        ("::1", "http://[::1]:8000/v1"),
    ],
)
def test_its_base_url_can_be_asked_from_here(host: str, url: str) -> None:
    assert service(host=host).base_url == url


def test_one_that_has_no_ray_yet_says_so(sleeper: subprocess.Popen[bytes]) -> None:
    starting = service(sleeper.pid)
    for ask in (starting.address, starting.log_folder):
        with pytest.raises(NoService, match="is starting, and its Ray is not there yet"):
            ask()


def test_one_on_another_cluster_has_its_address_and_no_logs_here() -> None:
    joined = service(ray_address="10.0.0.7:6379")
    assert joined.address() == "10.0.0.7:6379"
    with pytest.raises(NoService, match="its logs are on that cluster's nodes"):
        joined.log_folder()


def test_stop_waits_until_all_that_it_started_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(sleeper.pid).children()
    waited: list[float] = []
    assert stop(service(sleeper.pid), waited.append)
    assert waited
    assert sleeper.wait(10) == 0
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("command", [["status"], ["logs"], ["stop"], ["logs", "alpha"], ["status", "--json"]])
def test_without_a_service_the_status_is_3_and_the_message_says_how_to_start_one(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == Status.NO_SERVICE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "`portico serve` starts one" in printed.err


def test_deploy_without_a_service_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(tmp_path / "any.yaml")]) == Status.NO_SERVICE
    assert "`portico serve` starts one" in capsys.readouterr().err


def test_an_address_where_nothing_listens_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Before Ray is asked, which would try for minutes."""
    assert main(["status", "--address", "127.0.0.1:9"]) == Status.NO_SERVICE
    assert "There is no Ray at 127.0.0.1:9: Connection refused. Check the address." in capsys.readouterr().err


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    """Ray's logs of two models and of a process that is no replica."""
    folder = tmp_path / "logs"
    (folder / "serve").mkdir(parents=True)
    for name, lines in {
        "worker-1-01-7.out": [":job_id:01", ":actor_name:ServeReplica:portico:my-model", "it loads", "it is up"],
        "worker-1-01-7.err": [":job_id:01", ":actor_name:ServeReplica:portico:my-model"],
        "worker-2-01-8.out": [":job_id:01", ":actor_name:ServeReplica:portico:my_other", "hello"],
        "worker-3-01-9.out": [":job_id:01", ":actor_name:ServeController", "of the controller"],
        "worker-4-01-9.out": [],
        "serve/replica_portico_my-model_ab12cd34.log": ["INFO started"],
        "serve/controller_12.log": ["INFO controller"],
    }.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_the_logs_of_a_model_are_those_of_its_replicas(log_folder: Path) -> None:
    found = {model: {path.name for path in paths} for model, paths in logs_of(log_folder).items()}
    assert found == {
        "my-model": {"worker-1-01-7.out", "worker-1-01-7.err", "replica_portico_my-model_ab12cd34.log"},
        "my_other": {"worker-2-01-8.out"},
    }
    assert list(logs_of(log_folder, "my_other")) == ["my_other"]


def test_a_log_is_shown_without_the_marks_that_ray_writes_into_it(log_folder: Path) -> None:
    assert last_lines(log_folder / "worker-1-01-7.out", 10) == ["it loads", "it is up"]
    assert last_lines(log_folder / "worker-1-01-7.out", 1) == ["it is up"]
