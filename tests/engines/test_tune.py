"""`python -m app tune` on real engines: it measures, prints the winner, and leaves nothing running."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from contract.project import PROJECT_FOLDER
from contract.speculation import from_wire

DRAFT = "./local_models/pocket-draft"
BLOCK = f"{{method: draft_model, model: {DRAFT}, num_speculative_tokens: 3}}"
START_SECONDS = 120
PROMPTS = (
    '{"prompt": "The quick brown fox", "temperature": 0}\n'
    '{"messages": [{"role": "user", "content": "A gateway"}], "temperature": 0, "max_tokens": 24}\n'
)

Process = subprocess.Popen[str]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text(PROMPTS)
    return file


def start(workload: Path, *more: str) -> Process:
    command = [sys.executable, "-m", "app", "tune", "pocket-chat", "--workload", str(workload), "--max-tokens", "32",
               "--concurrency", "1,2", "--candidate", BLOCK, *more]  # fmt: skip
    command = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]  # as shells start a background job
    return subprocess.Popen(command, cwd=PROJECT_FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_engine(process: Process) -> list[psutil.Process]:
    """The processes of the first candidate, once its engine has started one of its own."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
        if len(started) > 1:
            return started
        time.sleep(0.2)
    raise TimeoutError("the measuring process did not start an engine")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "a kill"])
def test_when_it_is_stopped_no_engine_is_left(prompts: Path, number: signal.Signals) -> None:
    with start(prompts) as process:
        try:
            started = wait_for_engine(process)
            process.send_signal(number)
            if number is signal.SIGINT:
                assert process.wait(30) == 130
            _, alive = psutil.wait_procs(started, timeout=30)
            assert [one.name() for one in alive] == []
        finally:
            process.kill()


@pytest.mark.long
def test_a_prompt_that_the_model_cannot_take_is_reported_with_its_line(prompts: Path) -> None:
    prompts.write_text(PROMPTS + '{"prompt": "' + "fox " * 3000 + '"}\n')
    with start(prompts) as process:
        _, errors = process.communicate(timeout=280)
    assert process.returncode == 1
    assert "line 3 of the workload" in errors
    assert "Traceback" not in errors


def test_it_measures_each_candidate_and_writes_the_winner(prompts: Path, tmp_path: Path) -> None:
    block_file, chart_file = tmp_path / "block.yaml", tmp_path / "chart.svg"
    with start(prompts, "--output", str(block_file), "--svg", str(chart_file)) as process:
        output, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors[-3000:]
    for head in ("[1/2] off", "[2/2] draft_model 3 pocket-draft"):
        assert any(line.startswith(head) and line.endswith("tokens/s") for line in errors.splitlines())
    drafted = [line.split() for line in output.splitlines() if line.lstrip().startswith("draft_model 3")]
    *_, accepted, length = drafted[0]
    assert 0 < int(accepted.rstrip("%")) <= 100
    assert 1 < float(length) <= 4
    block = block_file.read_text()
    assert from_wire(yaml.safe_load(block)["speculation"]) in ("off", from_wire(yaml.safe_load(BLOCK)))
    assert block in output
    assert "<svg" in chart_file.read_text()
