"""`portico smoke [BASE_URL]`."""

from typing import Annotated

import typer

from app.cli.arguments import ApiKey, AsJson, Status, end, print_json
from app.cli.service import asked


def smoke(
    base_url: Annotated[
        str | None,
        typer.Argument(
            metavar="BASE_URL",
            envvar="OPENAI_BASE_URL",
            help="Such as http://127.0.0.1:8000/v1. Left out: of the service that runs on this machine.",
        ),
    ] = None,
    api_key: ApiKey = None,
    every_model: Annotated[
        bool, typer.Option("--every-model", help="Ask each model for all that it can do; else the first that can.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send one real request to each route that the key may use.

    Exit codes: 1 a request failed, or the service refuses the key; 3 none answers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    outcomes = []
    with asked(base_url, api_key) as client, Console(stderr=True).status("Asking ...") as shown:
        from app.commands.smoke import smoke as send

        for outcome in send(client, every_model=every_model):
            outcomes.append(outcome)
            shown.update(f"{len(outcomes)} requests, the last to {outcome.route} ...")
    if as_json:
        print_json([one.as_data() for one in outcomes])
    else:
        made = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        for name in ("route", "model", "status", "ms"):
            made.add_column(name, justify="right" if name == "ms" else "left", no_wrap=name != "model", overflow="fold")
        made.add_column("adjustments, or the error", overflow="fold")
        for one in outcomes:
            state = Text(str(one.status or "-"), "green" if one.good else "red")
            made.add_row(
                Text(one.route), Text(one.model), state, f"{one.milliseconds:.0f}", Text(one.note or one.adjustments)
            )
        Console().print(made)
        failed = sum(not one.good for one in outcomes)
        print(f"{len(outcomes)} requests, {failed or 'none'} failed.")
    end(Status.DONE if all(one.good for one in outcomes) else Status.NOT_RIGHT)
