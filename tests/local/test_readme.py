"""The examples of the README and of docs/clients.md, and the notebooks, run as a reader would paste them.

A text says below an example what one will see. Models of another machine round otherwise, so that only the words that
matter are compared: they are in what the text shows, and in what the example prints.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from app.config.model_entry import ModelEntry
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.clients.test_clients import CLIENTS_PYTHON, needs_node
from tests.conftest import Service

README = (PROJECT_FOLDER / "README.md").read_text()
CLIENTS = (PROJECT_FOLDER / "docs" / "clients.md").read_text()
JAVASCRIPT_FOLDER = PROJECT_FOLDER / "tests" / "clients" / "javascript"
LOCAL_URL = "http://127.0.0.1:8000"
# Those about the service; the others run where there is none, in tests/engines.
NOTEBOOKS = [path for path in sorted((PROJECT_FOLDER / "notebooks").glob("*.ipynb")) if LOCAL_URL in path.read_text()]


class Example(NamedTuple):
    language: str
    code: str
    shown: str  # what the text says that it prints


EXAMPLE = re.compile(r"```(bash|python|js)\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def examples(text: str) -> list[Example]:
    return [Example(*found) for found in EXAMPLE.findall(text)]


# A word that is only in that example -> what is in its output.
ASKED = {
    "curl ": ["Paris"],
    "stream=True": ["lighthouse"],
    "tool_calls": ["get_weather {'city': 'Paris'}", "sunny", "21"],
    "chat.completions.parse": ["sky='snowy' degrees=2"],
    "responses.create": ["mice"],
    "embeddings.create": ["0.53  A boat crosses the lake.", "0.03  Interest rates"],
    "audio.speech.create": ["I would like a cup of tea without any sugar."],
    "images.generate": [],
}
OF_CLIENTS = {
    "langchain_openai": ["sky='grey' windy=True"],
    "llama_index": ["sky='grey' windy=True"],
    "instructor.from_openai": ["sky='grey' windy="],
    "app.client": ["top_p clamp 1.5 1.0", "Did you mean `smollm2-135m-instruct`?"],
    'from "openai"': ["Paris"],
    "createOpenAI(": ["Paris"],
    "createOpenAICompatible(": ["grey 7"],
}
PROGRAMS = {
    "bash": ["bash", "-ec"],
    "python": [sys.executable, "-c"],
    "js": ["env", "-C", str(JAVASCRIPT_FOLDER), "node", "--input-type=module", "-e"],
}


def printed(program: list[str], code: str, service: Service, folder: Path) -> str:
    """What `code` prints, run in `folder` with the settings that the README exports, for the running service."""
    settings = {"OPENAI_BASE_URL": service.base_url, "OPENAI_API_KEY": LOCAL_KEY, "PYTHONPATH": ""}
    code = code.replace(LOCAL_URL, service.base_url.removesuffix("/v1"))
    command, environment = [*program, code], os.environ | settings
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return result.stdout


def the_example(text: str, word: str) -> Example:
    (found,) = [one for one in examples(text) if word in one.code]
    return found


def test_every_example_is_one_of_these() -> None:
    assert [one.code for one in examples(README) if not any(word in one.code for word in ASKED)] == [SETTINGS]
    assert len(examples(README)) == len(ASKED) + 1
    assert len(examples(CLIENTS)) == len(OF_CLIENTS)


SETTINGS = f"export OPENAI_BASE_URL={LOCAL_URL}/v1\nexport OPENAI_API_KEY={LOCAL_KEY}\n"


@pytest.mark.parametrize("word", ASKED)
def test_an_example_of_the_readme_prints_what_it_says(word: str, local_service: Service, tmp_path: Path) -> None:
    example = the_example(README, word)
    output = printed(PROGRAMS[example.language], example.code, local_service, tmp_path)
    for fact in ASKED[word]:
        assert fact in output
        assert fact in example.shown
    assert bool(output) == bool(example.shown)


@pytest.mark.parametrize("word", OF_CLIENTS)
def test_an_example_of_another_client_makes_sense(word: str, local_service: Service, tmp_path: Path) -> None:
    example = the_example(CLIENTS, word)
    if example.language == "js" and needs_node.args[0]:
        pytest.skip("Node.js is not installed on this machine")
    is_own = word == "app.client"  # in the project's folder, with the service's packages
    program = [str(CLIENTS_PYTHON), "-c"] if example.language == "python" and not is_own else PROGRAMS[example.language]
    output = printed(program, example.code, local_service, PROJECT_FOLDER if is_own else tmp_path)
    assert all(fact in output for fact in OF_CLIENTS[word]), output


def test_the_examples_of_model_entries_are_right() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    entries = [entry for block in blocks for entry in yaml.safe_load(block)]
    assert [ModelEntry.model_validate(entry).id for entry in entries] == ["qwen3-8b", "flux"]


def test_the_local_key_is_the_same_everywhere() -> None:
    configs = ["local", "tiny", "small", "one-gpu-chat"]
    pages = ["README.md", "docs/clients.md", *(f"serve_configs/{name}.yaml" for name in configs)]
    for path in [PROJECT_FOLDER / page for page in pages] + NOTEBOOKS:
        keys = re.findall(r"sk-portico-local\w+-\w+", path.read_text())
        assert set(keys) == {LOCAL_KEY}, path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, local_service: Service, tmp_path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    printed(PROGRAMS["python"], source, local_service, tmp_path)
