"""`portico logs [MODEL]`."""

from typing import Annotated

import typer

from app.cli.arguments import AsJson, Port, Status, end, print_json, refuse
from app.cli.service import found


def logs(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The id of a model, or `gateway`. Left out: which there are, and where."),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="Last lines of each file.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Show what the replicas of a model printed.

    Of a service on this machine; with Serve's own log of the replicas.

    Exit codes: 1 no replica of that model has started; 3 no service runs.
    """
    from app.commands.logs import followed, last_lines, logs_of
    from app.commands.services import NoService

    try:
        folder = found(port).log_folder()
    except NoService as error:
        refuse(error, Status.NO_SERVICE)
    files = logs_of(folder, model)
    if model is not None and model not in files:
        names = ", ".join(sorted(logs_of(folder))) or "none yet"
        refuse(f"There is no log of a replica of {model!r}. There are logs of: {names}.", Status.NOT_RIGHT)
    if model is None or as_json:
        listed = {name: [str(path) for path in paths] for name, paths in sorted(files.items())}
        if as_json:
            print_json(listed)
        else:
            for name, paths in listed.items():
                print(name, *(f"  {path}" for path in paths), sep="\n")
        end(Status.DONE)
    for path in files[model]:
        if last := last_lines(path, lines):
            print(f"==> {path} <==", *last, sep="\n")
    if follow:
        for _, line in followed(files[model]):
            print(line, flush=True)
