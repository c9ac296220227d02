"""HAProxy and its configuration, for the tests of it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.project import PROJECT_FOLDER
from tests.cluster.haproxy_door import CLUSTER, Gateway, Renderer, gateway, haproxy
from tests.own_ports import free_port


@pytest.fixture(scope="session")
def render() -> Iterator[Renderer]:
    command: list[str | Path] = [CLUSTER / "with-profile", sys.executable, "-m", "tests.cluster.rendered_haproxy"]
    with subprocess.Popen(
        command, cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Renderer(process)
        process.communicate()


@pytest.fixture
def door(render: Renderer, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts HAProxy before servers; returns its port."""
    with ExitStack() as stack:
        yield lambda servers, fallback=None, **variables: stack.enter_context(
            haproxy(render, tmp_path, servers, fallback, **variables)
        )


@pytest.fixture(scope="session")
def template(render: Renderer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Serve's configuration for one gateway replica, which is not there."""
    return render(tmp_path_factory.mktemp("rendered"), free_port(), [free_port()]).read_text()


@pytest.fixture
def rendered(template: str, tmp_path: Path) -> Path:
    """A file of it, for this test to change."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(template)
    return file


@pytest.fixture
def replica() -> Iterator[Gateway]:
    with gateway() as server:
        yield server
