"""The notebooks' files: as small as their sources, and with an introduction each."""

import re
from pathlib import Path

import nbformat
import pytest

from app.keys import LOCAL_KEY
from tests.notebooks import FOLDER, PATHS, read, stripped

ALL = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
LOCAL_URL = "http://127.0.0.1:8000/v1"  # where `make serve` listens


@ALL
def test_a_notebook_is_valid_and_without_outputs_counts_and_settings_of_an_editor(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook == stripped(notebook), "clear it: .venv/bin/python -m tests.notebooks"


@ALL
def test_a_notebook_begins_with_what_it_shows_what_runs_first_and_what_to_install(path: Path) -> None:
    introduction = read(path).cells[0]
    assert introduction.cell_type == "markdown"
    assert introduction.source.startswith("# ")
    assert "**First" in introduction.source
    assert "**Packages:**" in introduction.source


@ALL
def test_address_and_key_are_of_the_environment_and_else_the_local_ones_in_one_cell(path: Path) -> None:
    text = path.read_text()
    addresses, keys = re.findall(r"http://127[^\"\\ ]+", text), re.findall(r"sk-portico-local\w+-\w+", text)
    assert (addresses, keys) in (([LOCAL_URL], [LOCAL_KEY]), ([], []))
    if addresses:
        (cell,) = [cell.source for cell in read(path).cells if LOCAL_URL in cell.source]
        assert f'setdefault("OPENAI_BASE_URL", "{LOCAL_URL}")' in cell
        assert f'setdefault("OPENAI_API_KEY", "{LOCAL_KEY}")' in cell


def test_the_readme_lists_each() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.ipynb\)", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [(path.stem, path.stem) for path in PATHS]
