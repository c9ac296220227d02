"""The README's examples and the notebooks, run as a reader would paste them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.config.model_entry import ModelEntry
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.clients.test_clients import CLIENTS_PYTHON, needs_node
from tests.conftest import Service

README = (PROJECT_FOLDER / "README.md").read_text()
JAVASCRIPT_FOLDER = PROJECT_FOLDER / "tests" / "clients" / "javascript"
LOCAL_URL = "http://127.0.0.1:8000"
# Those about the service; the others run where there is none, in tests/engines.
NOTEBOOKS = [path for path in sorted((PROJECT_FOLDER / "notebooks").glob("*.ipynb")) if LOCAL_URL in path.read_text()]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def here(text: str, service: Service) -> str:
    """`text` about the running service instead of the usual port."""
    assert LOCAL_URL in text
    return text.replace(LOCAL_URL, f"http://127.0.0.1:{service.port}")


@pytest.mark.parametrize("block", blocks("bash"), ids=["whole", "stream", "embeddings"])
def test_the_curl_examples_answer(block: str, service: Service) -> None:
    result = subprocess.run(
        ["bash", "-ec", here(block, service)], capture_output=True, text=True, timeout=60, check=True
    )
    assert '"model":"pocket-' in result.stdout
    assert "error" not in result.stdout


# A word that is only in that example -> what it prints. A random model may say nothing, or anything.
PYTHON = {
    "for chunk in stream": "",
    "client.responses.create": "complete",
    "json_schema": "'sky'",
    "client.images.generate": "bytes of PNG",
    "client.audio.speech": "bytes of WAV",
}
CLIENTS = {"langchain_openai": "sky='", "llama_index": "sky='", "instructor.from_openai": "sky='"}
JAVASCRIPT = {'from "openai"': "", "createOpenAI(": "", "createOpenAICompatible(": ""}


def run(command: list[object], service: Service) -> str:
    """What an example prints; its last argument is its text."""
    *program, text = map(str, command)
    result = subprocess.run([*program, here(text, service)], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-5000:]
    return result.stdout


def block(language: str, word: str) -> str:
    (found,) = [one for one in blocks(language) if word in one]
    return found


def test_every_example_is_one_of_these() -> None:
    assert len(blocks("python")) == len(PYTHON | CLIENTS)
    assert len(blocks("js")) == len(JAVASCRIPT)


@pytest.mark.parametrize("word", PYTHON)
def test_the_python_examples_run(word: str, service: Service) -> None:
    found = [one for one in blocks("python") if word in one and not any(client in one for client in CLIENTS)]
    assert PYTHON[word] in run([sys.executable, "-c", found[-1]], service)


@pytest.mark.parametrize("word", CLIENTS)
def test_the_examples_of_other_python_clients_run(word: str, service: Service) -> None:
    assert CLIENTS[word] in run([CLIENTS_PYTHON, "-c", block("python", word)], service)


@needs_node
@pytest.mark.parametrize("word", JAVASCRIPT)
def test_the_javascript_examples_run(word: str, service: Service) -> None:
    program = ["env", "-C", JAVASCRIPT_FOLDER, "node", "--input-type=module", "-e"]
    assert run([*program, block("js", word)], service)


def test_the_examples_of_model_entries_are_right() -> None:
    entries = [entry for block in blocks("yaml") for entry in yaml.safe_load(block)]
    assert [ModelEntry.model_validate(entry).id for entry in entries] == ["qwen3-8b", "flux"]


def test_the_local_key_is_the_same_everywhere() -> None:
    for path in ("README.md", "serve_configs/local.yaml", "serve_configs/tiny.yaml"):
        keys = re.findall(r"sk-portico-local\w+-\w+", (PROJECT_FOLDER / path).read_text())
        assert set(keys) == {LOCAL_KEY}, path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, service: Service) -> None:
    cells = json.loads(path.read_text())["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    command = [sys.executable, "-c", here(source, service)]
    subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
