"""`python -m app tune` on real engines: it measures, says what won, and leaves nothing running."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from contract.project import PROJECT_FOLDER
from contract.speculation import from_wire

DRAFT = "./local_models/pocket-draft"
BLOCK = f"{{method: draft_model, model: {DRAFT}, num_speculative_tokens: 3}}"
START_SECONDS = 120


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "The quick brown fox", "temperature": 0}\n'
        '{"messages": [{"role": "user", "content": "A gateway"}], "temperature": 0, "max_tokens": 24}\n'
    )
    return path


def command(workload: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "app", "tune", "pocket-chat", "--workload", str(workload), "--max-tokens", "32",
            "--concurrency", "1,2", "--candidate", BLOCK, *more]  # fmt: skip


def test_it_measures_each_candidate_and_writes_the_winner(workload: Path) -> None:
    block, picture = workload.with_name("block.yaml"), workload.with_name("chart.svg")
    result = subprocess.run(
        command(workload, "--output", str(block), "--svg", str(picture)),
        cwd=PROJECT_FOLDER, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    for head in ("[1/2] off", "[2/2] draft_model 3 pocket-draft"):
        assert any(line.startswith(head) and line.endswith("tokens/s") for line in result.stderr.splitlines())
    drafted = [line.split() for line in result.stdout.splitlines() if line.lstrip().startswith("draft_model 3")]
    *_, accepted, length = drafted[0]
    assert 0 < int(accepted.rstrip("%")) <= 100
    assert 1 < float(length) <= 4
    winner = from_wire(yaml.safe_load(block.read_text())["speculation"])
    assert winner in ("off", from_wire(yaml.safe_load(BLOCK)))
    assert block.read_text() in result.stdout
    assert "<svg" in picture.read_text()


@pytest.fixture
def under_way(workload: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command(workload), cwd=PROJECT_FOLDER, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_engine(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of the first candidate, once its engine has started one of its own."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
        if len(started) > 1:
            return started
        time.sleep(0.2)
    raise TimeoutError("the measuring process did not start an engine")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "a kill"])
def test_when_it_is_stopped_no_engine_is_left(under_way: subprocess.Popen[str], number: signal.Signals) -> None:
    started = wait_for_engine(under_way)
    under_way.send_signal(number)
    if number is signal.SIGINT:
        assert under_way.wait(30) == 130
    _, alive = psutil.wait_procs(started, timeout=30)
    assert [process.name() for process in alive] == []


def test_a_prompt_that_the_model_cannot_take_is_told_with_its_line(workload: Path) -> None:
    with workload.open("a") as file:
        file.write('{"prompt": "' + "fox " * 3000 + '"}\n')
    result = subprocess.run(
        command(workload), cwd=PROJECT_FOLDER, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 1
    assert "line 3 of the workload" in result.stderr
    assert "Traceback" not in result.stderr
