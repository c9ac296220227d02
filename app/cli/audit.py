"""`portico audit`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.arguments import AsJson, checked, print_json


def _since(text: str) -> datetime:
    from app.keys.moments import parse_end

    end = parse_end(text)
    return datetime.now(UTC) - end if isinstance(end, timedelta) else end


def audit(
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="The audit log.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A Serve config file, which names the audit log.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Of this key only, by its public id.")] = None,
    since: Annotated[
        Any, typer.Option(parser=checked(_since), metavar="WHEN", help="2027-01-31, 2027-01-31T18:00Z, 90d, 12h.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was changed of keys and of the configuration, by whom: oldest first."""
    from app.audit.trail import Trail
    from app.commands.audit import matching, trail_of

    if (file is None) == (config is None):
        raise typer.BadParameter("one of the arguments --file --config is required, and not both")
    trail = trail_of(config) if config else Trail(file)
    lines = matching(trail.read(), key, since)
    if as_json:
        print_json(lines)
    else:
        _print_table(lines)


def _print_table(lines: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from app.commands.audit import HEADINGS, row

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in HEADINGS:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, row(line)))
    Console().print(table)
