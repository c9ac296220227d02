"""The clients that people already use, each with nothing changed but its base URL and its key.

Each client's own tests run in its own world: python/ in the environment of locks/clients.txt, javascript/ on Node.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service

HERE = Path(__file__).parent
CLIENTS_PYTHON = PROJECT_FOLDER / ".venv" / "clients" / "bin" / "python"
PYTHON_TESTS = sorted((HERE / "python").glob("*_client.py"))
JAVASCRIPT_TESTS = sorted((HERE / "javascript").glob("*.test.mjs"))
SECONDS = 280

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed on this machine")


def run(service: Service, *command: object) -> None:
    settings = {"OPENAI_BASE_URL": service.base_url, "OPENAI_API_KEY": LOCAL_KEY, "PORTICO_MODEL": "pocket-chat"}
    result = subprocess.run(
        [str(part) for part in command], env=os.environ | settings, cwd=HERE, timeout=SECONDS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-10_000:]


@pytest.mark.parametrize("path", PYTHON_TESTS, ids=lambda path: path.stem.removesuffix("_client"))
def test_a_python_client(service: Service, path: Path) -> None:
    run(service, CLIENTS_PYTHON, "-m", "pytest", "-c", HERE / "python" / "pytest.ini", path)


@needs_node
@pytest.mark.parametrize("path", JAVASCRIPT_TESTS, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_a_javascript_client(service: Service, path: Path) -> None:
    run(service, "node", "--test", "--test-timeout=60000", path)
