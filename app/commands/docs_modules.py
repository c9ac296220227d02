"""docs/modules.md, written from the modules' own docstrings: `python -m app docs`."""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from contract.project import PROJECT_FOLDER

PACKAGES = ("app", "contract", "deployments", "cluster", "local_models")
INTRO = """# Every module in a line

<!-- Written by `python -m app docs` from the beginning of each module's docstring. Do not edit by hand. -->

The order in which a request meets them: [Life of a request](life-of-a-request.md)
"""


def page() -> str:
    """The whole page."""
    return INTRO + "".join(_section(folder, list(modules)) for folder, modules in groupby(_modules(), _folder))


def _modules() -> Iterator[Path]:
    """Every module but the `__init__.py`s, folder by folder."""
    for package in PACKAGES:
        for init in sorted((PROJECT_FOLDER / package).rglob("__init__.py")):  # a model's folder has none
            yield from sorted(path for path in init.parent.glob("*.py") if path != init)


def _folder(module: Path) -> Path:
    return module.parent


def _section(folder: Path, modules: list[Path]) -> str:
    name = folder.relative_to(PROJECT_FOLDER)
    rows = [f"| `{module.name}` | {summary(module)} |" for module in modules]
    head = [f"\n## {name}/\n", f"{summary(folder / '__init__.py')}\n", "| Module | |", "|---|---|"]
    return "\n".join([*head, *rows, ""])


def summary(module: Path) -> str:
    """The first paragraph of a module's docstring, on one line. Raises ValueError where there is none."""
    docstring = ast.get_docstring(ast.parse(module.read_text()))
    if not docstring:
        raise ValueError(f"{module.relative_to(PROJECT_FOLDER)} has no docstring")
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
