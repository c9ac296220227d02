"""`portico usage --by key,model,day`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import Status, checked, print_json, refuse
from app.usage.groups import GROUPS, parse_by

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

WIDEST = 1000  # characters
WHEN = "A day or a moment in UTC, such as 2027-01-31 or 2027-01-31T18:00Z"


class Format(StrEnum):
    """How sums are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def _moment(text: str) -> "datetime":
    from app.usage.question import parse_moment

    return parse_moment(text)


def usage(
    by: Annotated[
        Any, typer.Option(parser=checked(parse_by), metavar="NAME,NAME", help=f"What to group by: {', '.join(GROUPS)}.")
    ] = "key,model",
    since: Annotated[
        Any, typer.Option(parser=checked(_moment), metavar="WHEN", help=f"{WHEN}; left out: 30 days before the end.")
    ] = None,
    until: Annotated[
        Any, typer.Option(parser=checked(_moment), metavar="WHEN", help=f"{WHEN}, itself not included; left out: now.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Only of this key.")] = None,
    team: Annotated[str | None, typer.Option(metavar="ID", help="Only of this team.")] = None,
    model: Annotated[str | None, typer.Option(metavar="ID", help="Only of this model.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The Serve config file that says where the ledger is. Left out: that of the service on this machine, "
            "else this user's own ledger.",
        ),
    ] = None,
) -> None:
    """Show who used what, from the usage ledger.

    It reads the ledger's database itself, so that no service needs to run.

    Exit codes: 1 there is no ledger; 2 the command line or the config file is wrong; 3 the database does not answer.
    """
    from app.commands.usage import DatabaseAway, NoLedger, report

    where = {name: value for name, value in (("key", key), ("team", team), ("model", model)) if value is not None}
    try:
        found = report(config, by, since, until, where)
    except NoLedger as error:
        refuse(error, Status.NOT_RIGHT)
    except DatabaseAway as error:
        refuse(error, Status.NO_SERVICE)
    except ValueError as error:
        from contract.fields import ConfigError

        if isinstance(error, ConfigError):
            raise
        refuse(error)
    match form:
        case Format.JSON:
            print_json(found.data())
        case Format.CSV:
            print(found.csv(), end="")
        case Format.TABLE:
            from rich.console import Console

            # As wide as it is: numbers that are cut would be others.
            Console(width=WIDEST).print(table(found.columns(), found.lines(), len(by)))


def table(columns: list[str], lines: list[list[str]], groups: int) -> "Table":
    """A line a sum; the first columns are what it is of."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for place, name in enumerate(columns):
        made.add_column(name, justify="left" if place < groups else "right", no_wrap=True)
    for line in lines:
        made.add_row(*map(Text, line))
    return made
