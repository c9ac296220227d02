"""`portico serve [FILE | MODEL ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.arguments import Status, end, refuse


def serve(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|MODEL",
            help="A Serve config file (.yaml), or models: hub names, or folders. Left out: the small models of "
            "serve_configs/local.yaml, which are fetched where they are missing.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="HTTP port, where models are named.")] = 8000,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the Serve file of the models that are named. Left out: in portico/ in the folder for "
            "configuration, ~/.config.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write that file even where it is there and was changed by hand.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on, in place of the file's: 0.0.0.0 for all of this machine's. The local key is "
            "good on 127.0.0.1 only, so others need --key-file.",
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key file (`portico keys create`), in place of the keys of the file."),
    ] = None,
    metrics_port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port of Ray's metrics, for Prometheus; 0: any free one.")
    ] = 0,
    start: Annotated[bool, typer.Option(help="Serve it; or only write the file.")] = True,
) -> None:
    """Run a service in the foreground; Ctrl-C stops it.

    For models that are named, it finds the task and the engine, sizes them for the GPU or the CPU that is here, and
    writes the Serve file that it serves. It listens on 127.0.0.1 and takes the local key, unless options say otherwise.

    Exit codes: 0 it was stopped; 1 it ended by itself; 2 the file is wrong, or a model cannot be served here.
    """
    from app.commands.planned.choice import Options, file_of
    from app.commands.planned.exposed import exposed
    from contract.fields import ConfigError

    try:
        path = exposed(file_of(what or [], Options(port, output, overwrite, fetch=start)), host, key_file)
    except ConfigError as error:
        refuse(error)
    if not start:
        end(Status.DONE)
    from app.commands.serve import serve as serve_file

    end(serve_file(path, metrics_port))
