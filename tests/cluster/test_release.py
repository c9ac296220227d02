"""The workflow that releases a version: pinned actions, least rights, and only what is there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.project import PROJECT_FOLDER, VERSION
from tests.cluster.test_image import TARGETS

WORKFLOW = PROJECT_FOLDER / ".github" / "workflows" / "release.yaml"
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
SCRIPTS = [
    (f"{name}: {step.get('name', step['run'])}", step["run"])
    for name, job in JOBS.items()
    for step in job["steps"]
    if "run" in step
]


def script(word: str) -> str:
    (found,) = [one for _, one in SCRIPTS if word in one]
    return found


def test_actions_are_pinned_by_their_commit_with_the_version_beside_it() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW.read_text())
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
    assert len({one.partition("@")[0] for one in used}) == len(set(used))  # one version of each


def test_a_job_has_only_the_rights_that_it_needs() -> None:
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {}
    assert JOBS["check"]["permissions"] == {"contents": "read"}
    writes = {
        name: {right for right, may in job["permissions"].items() if may == "write"} for name, job in JOBS.items()
    }
    assert writes == {
        "check": set(),
        "images": {"packages", "id-token"},
        "release": {"contents", "packages", "id-token"},
    }


def test_nothing_is_published_that_was_not_tested() -> None:
    assert (JOBS["images"]["needs"], JOBS["release"]["needs"]) == ("check", "images")
    assert script("make check")


@pytest.mark.parametrize(("name", "code"), SCRIPTS, ids=[name for name, _ in SCRIPTS])
def test_shellcheck_has_nothing_to_say(name: str, code: str) -> None:
    command: list[Any] = [SHELLCHECK, "--shell=bash", "-"]
    result = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
    assert "${{" not in code  # what others may have written, such as a tag's name, comes as a variable


def test_every_target_of_the_dockerfile_is_built_as_make_image_does() -> None:
    assert tuple(JOBS["images"]["strategy"]["matrix"]["target"]) == TARGETS
    assert "OUTPUT=push" in script("make image")


def test_files_that_it_names_are_there() -> None:
    named = re.findall(r"(?:locks|cluster)/[\w./-]+|pyproject\.toml|CHANGELOG\.md", WORKFLOW.read_text())
    assert {path for path in named if not (PROJECT_FOLDER / path.rstrip(".")).exists()} == set()


def test_the_notes_are_the_changelog_s_section_of_the_version(tmp_path: Path) -> None:
    """Today's is the one that has no date yet."""
    heading = f"## [{VERSION}] - 2026-12-01"
    changelog = (PROJECT_FOLDER / "CHANGELOG.md").read_text().replace(f"## [Unreleased]: {VERSION}", heading)
    (tmp_path / "CHANGELOG.md").write_text(f"{changelog}\n## [0.0.1] - 2026-01-01\n\n- Older.\n")
    notes, _ = script("gh release create").split("gh release create")
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": f"v{VERSION}"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", notes], cwd=tmp_path, env=environment, check=True)
    written = (tmp_path / "notes.md").read_text()
    assert "### Added" in written
    assert "Older" not in written
    assert "## [" not in written
