"""The notebooks: what is in their files, and how a test runs one as a reader would, in a kernel of its own.

`python -m tests.notebooks` clears their outputs, as they are committed.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from contract.project import PROJECT_FOLDER

FOLDER = PROJECT_FOLDER / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 240  # most take less than one; a test may take 300
# What Jupyter needs to choose a kernel and to colour the code; the rest of what it writes is about its own machine.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
AUDIO, PLOT = "text/html", "image/png"


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def stripped(notebook: Any) -> Any:
    """A copy without anything that a run or an editor has left in it."""
    clean = nbformat.from_dict(notebook)
    clean.metadata = nbformat.from_dict(METADATA)
    for cell in clean.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return clean


def run(name: str, more: str = "", **environment: str) -> Any:
    """Run every cell, and last one with `more`. Returns the notebook with its outputs. Raises where a cell fails.

    `environment` is set beside this process's own.
    """
    notebook = read(FOLDER / f"{name}.ipynb")
    notebook.cells.append(nbformat.v4.new_code_cell(more))
    with tempfile.TemporaryDirectory() as folder:  # short: paths of sockets are bounded
        # On sockets in that folder: a port could be one that another test has chosen.
        kernel = {"transport": "ipc", "ip": f"{folder}/socket", "connection_file": f"{folder}/connection.json"}
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",  # that of ipykernel, beside this interpreter
            resources={"metadata": {"path": str(FOLDER)}},
            config=Config({"KernelManager": kernel}),
        )
        client.execute(env=os.environ | {"IPYTHONDIR": folder} | environment)
    return notebook


def outputs(notebook: Any) -> list[Any]:
    """The outputs of all cells, in order."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(notebook: Any, kind: str) -> list[str]:
    """What was shown of that media type: base64 of images, the text of others."""
    return [output.data[kind] for output in outputs(notebook) if kind in output.get("data", {})]


def printed(notebook: Any) -> str:
    return "".join(output.text for output in outputs(notebook) if output.get("name") == "stdout")


def most_pieces(notebook: Any) -> int:
    """In how many pieces the output of one cell was printed, where that was most: a stream comes in many."""
    return max(
        sum(output.get("name") == "stdout" for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


if __name__ == "__main__":
    for path in PATHS:
        path.write_text(nbformat.writes(stripped(read(path))) + "\n")
