"""`python -m local_models` and `make serve`: what they are told, and how they end."""

import errno
import subprocess
from pathlib import Path

import pytest

from contract.project import PROJECT_FOLDER
from local_models import __main__ as command
from local_models.fetch import FetchError
from local_models.sources import FETCHED


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the models that would be made or fetched."""
    names: list[str] = []
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "make", names.append)
    monkeypatch.setattr(command, "fetch_missing", lambda models, *_: names.extend(model.id for model in models))
    return names


def planned(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What make would run, on an environment that is not there yet."""
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, check=False, cwd=PROJECT_FOLDER, capture_output=True, text=True)


def test_without_names_the_models_of_local_yaml_are_fetched(asked: list[str]) -> None:
    assert command.main([]) == 0
    assert asked == list(FETCHED)


def test_groups_and_models_may_be_named(asked: list[str]) -> None:
    assert command.main(["tiny", "whisper-base", "pocket-flux"]) == 0
    assert asked == [*command.GROUPS["tiny"], "pocket-flux", "whisper-base"]


def test_an_unknown_model_is_an_error_that_lists_the_known_ones(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["tiny", "gpt-5"]) == 2
    assert asked == []
    said = capsys.readouterr().err
    assert "There is no model gpt-5 here." in said
    assert all(name in said for name in (*command.GROUPS, *FETCHED, *command.MAKERS))


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (FetchError("no source gives it"), 1, "no source gives it"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "is full. Free some"),
        (KeyboardInterrupt(), 130, "the next run goes on from there"),
    ],
    ids=["no source", "full disk", "Ctrl-C"],
)
def test_it_ends_in_one_line_without_a_traceback(
    error: BaseException,
    status: int,
    text: str,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(command, "fetch_missing", fail)
    assert command.main(["local"]) == status
    said = capsys.readouterr().err.strip()
    assert text in said
    assert "\n" not in said


@pytest.mark.parametrize("models", ["local", "tiny"])
def test_make_serve_gets_and_serves_one_group_only(models: str) -> None:
    plan = planned("serve", f"MODELS={models}").stdout
    lines = [line for line in plan.splitlines() if "local_models" in line or "app serve" in line]
    assert [line.partition("python ")[2] for line in lines] == [
        f"-m local_models {models}",
        f"-m app serve serve_configs/{models}.yaml",
    ]


def test_make_serve_refuses_other_models_and_says_which_there_are() -> None:
    refused = planned("serve", "MODELS=nonsense")
    assert refused.returncode == 2
    assert "MODELS=nonsense is neither local" in refused.stderr
    assert "nor tiny" in refused.stderr
