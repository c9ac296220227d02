"""The README's examples and the notebooks, run as a reader would paste them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.config import PROJECT_FOLDER, ModelEntry
from app.keys import LOCAL_KEY
from tests.conftest import Service

README = (PROJECT_FOLDER / "README.md").read_text()
NOTEBOOKS = sorted((PROJECT_FOLDER / "notebooks").glob("*.ipynb"))
LOCAL_URL = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def here(text: str, service: Service) -> str:
    """`text` about the running service instead of the usual port."""
    assert LOCAL_URL in text
    return text.replace(LOCAL_URL, f"http://127.0.0.1:{service.port}")


@pytest.mark.parametrize("block", blocks("bash"), ids=lambda block: "stream" if "-N" in block else "whole")
def test_the_curl_examples_answer(block: str, service: Service) -> None:
    result = subprocess.run(
        ["bash", "-ec", here(block, service)], capture_output=True, text=True, timeout=60, check=True
    )
    assert '"model":"pocket-chat"' in result.stdout
    assert "error" not in result.stdout


PYTHON = dict(zip(["stream", "responses", "json schema"], blocks("python"), strict=True))
PRINTED = {"stream": "", "responses": "complete", "json schema": "'sky'"}


@pytest.mark.parametrize("name", PYTHON)
def test_the_python_examples_run(name: str, service: Service) -> None:
    command = [sys.executable, "-c", here(PYTHON[name], service)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert PRINTED[name] in result.stdout  # the stream is the text of random weights, which may be none


def test_the_example_of_a_model_entry_is_right() -> None:
    (block,) = blocks("yaml")
    (entry,) = yaml.safe_load(block)
    assert ModelEntry.model_validate(entry).id == "qwen3-8b"


def test_the_local_key_is_the_same_everywhere() -> None:
    for path in ("README.md", "serve_configs/local.yaml"):
        keys = re.findall(r"sk-portico-local\w+-\w+", (PROJECT_FOLDER / path).read_text())
        assert set(keys) == {LOCAL_KEY}, path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, service: Service) -> None:
    cells = json.loads(path.read_text())["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    command = [sys.executable, "-c", here(source, service)]
    subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
