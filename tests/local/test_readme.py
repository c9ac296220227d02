"""The examples of the pages that need a service, run as a reader would paste them.

A text says below an example what one will see. Models of another machine round otherwise, so that only the words that
matter are compared: they are in what the text shows, and in what the example prints.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.clients.test_clients import CLIENTS_PYTHON, needs_node
from tests.conftest import Service
from tests.pages import EXAMPLES, text_of, the_block

JAVASCRIPT_FOLDER = PROJECT_FOLDER / "tests" / "clients" / "javascript"
LOCAL_URL = "http://127.0.0.1:8000"


# In the environment of locks/clients.txt: these want older packages than the service.
OTHER_CLIENTS = {"langchain_openai", "llama_index.llms", "instructor.from_openai", "from anthropic"}
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


SETTINGS = f"export OPENAI_BASE_URL={LOCAL_URL}/v1\nexport OPENAI_API_KEY={LOCAL_KEY}\n"


@pytest.mark.parametrize("page", ["README.md", "docs/clients.md"])
def test_a_page_exports_the_settings_once(page: str) -> None:
    assert text_of(page).count(SETTINGS) == text_of(page).count(LOCAL_KEY) - text_of(page).count("  API key   ") == 1


@pytest.mark.parametrize(("page", "word"), [(page, word) for page, words in EXAMPLES.items() for word in words])
def test_an_example_prints_what_its_page_says(page: str, word: str, local_service: Service, tmp_path: Path) -> None:
    example = the_block(page, word)
    if example.language == "js" and needs_node.args[0]:
        pytest.skip("Node.js is not installed on this machine")
    program = [str(CLIENTS_PYTHON), "-c"] if word in OTHER_CLIENTS else PROGRAMS[example.language]
    is_own = word == "app.client"  # in the project's folder, with the service's packages
    output = printed(program, example.code, local_service, PROJECT_FOLDER if is_own else tmp_path)
    for fact in EXAMPLES[page][word]:
        assert fact in output
        assert not example.shown or fact in example.shown


def test_the_local_key_is_the_same_everywhere() -> None:
    configs = ["local", "tiny", "small", "one-gpu-chat"]
    pages = ["README.md", "docs/clients.md", *(f"serve_configs/{name}.yaml" for name in configs)]
    for page in pages:
        keys = re.findall(r"sk-portico-local\w+-\w+", (PROJECT_FOLDER / page).read_text())
        assert set(keys) == {LOCAL_KEY}, page
