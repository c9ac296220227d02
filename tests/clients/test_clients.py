"""The clients that people already use, each with nothing changed but its base URL and its key.

Each client's own tests run in its own world: python/ in the environment of locks/clients.txt, javascript/ on Node.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service

HERE = Path(__file__).parent
CLIENTS_PYTHON = PROJECT_FOLDER / ".venv" / "clients" / "bin" / "python"
PYTHON_TESTS = sorted((HERE / "python").glob("*_client.py"))
JAVASCRIPT_TESTS = sorted((HERE / "javascript").glob("*.test.mjs"))
SECONDS = 400  # the first import of a package compiles it, on a machine that has other work

Runs = dict[Path, Future[subprocess.CompletedProcess[str]]]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed on this machine")


@pytest.fixture(scope="module")
def runs(service: Service, request: pytest.FixtureRequest) -> Iterator[Runs]:
    """The runs of the clients' own tests, all at once: each spends most of its time with imports, on one core."""
    items = (item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function))
    paths = [Path(str(item.callspec.params["path"])) for item in items]
    with ThreadPoolExecutor(len(paths)) as pool:
        yield {path: pool.submit(run, service, path) for path in paths}


def run(service: Service, path: Path) -> subprocess.CompletedProcess[str]:
    settings = {"OPENAI_BASE_URL": service.base_url, "OPENAI_API_KEY": LOCAL_KEY, "PORTICO_MODEL": "pocket-chat"}
    python: list[Any] = [CLIENTS_PYTHON, "-m", "pytest", "-c", HERE / "python" / "pytest.ini"]
    node: list[Any] = ["node", "--test", "--test-timeout=60000"]
    return subprocess.run(
        [*(python if path.suffix == ".py" else node), path],
        env=os.environ | settings, cwd=HERE, timeout=SECONDS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", PYTHON_TESTS, ids=lambda path: path.stem.removesuffix("_client"))
def test_a_python_client(runs: Runs, path: Path) -> None:
    result = runs[path].result()
    assert result.returncode == 0, result.stdout[-10_000:]


@needs_node
@pytest.mark.parametrize("path", JAVASCRIPT_TESTS, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_a_javascript_client(runs: Runs, path: Path) -> None:
    result = runs[path].result()
    assert result.returncode == 0, result.stdout[-10_000:]
