"""`portico doctor`."""

from typing import Annotated

import typer

from app.cli.arguments import AsJson, Status, end, print_json

MARKS = {"right": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("wrong", "red")}


def doctor(
    port: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="A port that a service is to have; repeatable. Left out: 8000."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look whether a service can run on this machine.

    Python, cores, memory, disk, GPUs and their driver, packages against the lock, ports, tools.

    Exit codes: 1 something must be put right before a service can run; the last column says how.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from app.commands.doctor import PORTS, examine

    with Console(stderr=True).status("Looking ..."):
        found = list(examine(port or PORTS))
    if as_json:
        print_json([one.as_data() for one in found])
    else:
        made = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_header=False)
        made.add_column(no_wrap=True)
        made.add_column(no_wrap=True)
        made.add_column(overflow="fold")
        for one in found:
            word, colour = MARKS[one.level]
            made.add_row(Text(word, colour), one.about, Text(one.said + (f"\n{one.remedy}." if one.remedy else "")))
        Console().print(made)
    end(Status.NOT_RIGHT if any(one.level == "wrong" for one in found) else Status.DONE)
