"""docs/commands.md, written from what each command's `--help` says: `portico docs`."""

from collections.abc import Iterator

import typer
from typer.testing import CliRunner

WIDTH = 100
INTRO = """# Commands

<!-- Written by `portico docs` from what each command says of itself. Do not edit by hand. -->

`make` installs the command as `.venv/bin/portico`; `. .venv/bin/activate` puts it on the path, where the image has it.
`python -m app` is the same program. What takes `--json` prints nothing else on standard output.
"""


def page() -> str:
    """The whole page."""
    from app.cli.application import PROGRAM, application

    return INTRO + "".join(_sections(application, [PROGRAM], application))


def _sections(root: typer.Typer, names: list[str], group: typer.Typer) -> Iterator[str]:
    """The help of a group, and of each command in it."""
    yield _section(root, names)
    for command in group.registered_commands:
        name = command.name or str(getattr(command.callback, "__name__", "")).replace("_", "-")
        yield _section(root, [*names, name])
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from _sections(root, [*names, str(inner.typer_instance.info.name)], inner.typer_instance)


def _section(root: typer.Typer, names: list[str]) -> str:
    arguments = [*names[1:], "--help"]
    shown = (
        CliRunner(env={"RAY_ADDRESS": None}).invoke(root, arguments, prog_name=names[0], terminal_width=WIDTH).output
    )
    return f"\n## {' '.join(names)}\n\n```text\n{shown.strip()}\n```\n"
