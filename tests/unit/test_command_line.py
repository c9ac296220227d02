"""`portico` itself: what it is called, how quickly it starts, how it ends, what its page says."""

import subprocess
import sys
import tomllib
from importlib import import_module
from typing import Any

import pytest

from app.__main__ import main
from app.cli.arguments import Status
from contract.project import PROJECT_FOLDER, VERSION

COMMANDS = {"audit",
    "serve", "deploy", "status", "logs", "stop", "check", "doctor", "fetch", "models", "chat", "smoke", "tune", "docs",
    "keys", "config", "usage",
}  # fmt: skip
# What takes long to import, and what no help needs.
LATE = (
    "ray",
    "vllm",
    "torch",
    "transformers",
    "huggingface_hub",
    "openai",
    "httpx2",
    "pydantic",
    "yaml",
    "psutil",
    "sqlalchemy",
    "psycopg",
)
PAGE = (PROJECT_FOLDER / "docs" / "commands.md").read_text()


def test_the_console_script_is_this_program() -> None:
    project = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["portico"].partition(":")
    assert getattr(import_module(module), function) is main


def test_what_it_stands_on_is_named_and_pinned_in_both_locks() -> None:
    for kind in ("cpu", "gpu"):
        wanted = (PROJECT_FOLDER / "locks" / f"{kind}.in").read_text().split("\n")
        pinned = (PROJECT_FOLDER / "locks" / f"{kind}.txt").read_text()
        for name in ("typer", "rich", "psutil", "httpx2", "huggingface-hub"):
            assert name in wanted
            assert f"\n{name}==" in pinned


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys\nfrom app.__main__ import main\n"
        f"assert main(['--help']) == 0\nprint([name for name in {LATE} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_FOLDER, check=True)
    assert result.stderr.strip() == "[]"
    assert {line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line} == COMMANDS


def test_version_is_the_project_s(capsys: Any) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"portico {VERSION}\n"


@pytest.mark.parametrize("arguments", [["sevre"], ["serve", "--prot", "1"], ["keys", "create", "--weight", "much"], []])
def test_a_wrong_command_line_ends_with_status_2_and_says_how_it_is_used(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == Status.WRONG
    assert "Usage: portico" in capsys.readouterr().err


def test_the_page_has_every_command_and_its_exit_codes() -> None:
    titles = {line.removeprefix("## portico ") for line in PAGE.splitlines() if line.startswith("## portico ")}
    assert {title.split()[0] for title in titles} == COMMANDS
    assert {f"keys {name}" for name in ("create", "list", "show", "rotate", "revoke")} | {"config schema"} <= titles
    assert "3 no service runs, or none answers" in " ".join(PAGE.split())
