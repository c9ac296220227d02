"""`portico check FILE`."""

from typing import Annotated

import typer

from app.cli.arguments import AsJson, ServeFile, end
from app.config.gpus import MEMORY_GIB


def check(
    file: ServeFile,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|GIB",
            help="Add up memory for this GPU instead of those that the file names: "
            f"{', '.join(MEMORY_GIB)}, or its GiB.",
        ),
    ] = None,
    issuers: Annotated[
        bool, typer.Option("--issuers", help="Ask the issuers of bearer tokens that the file names for their keys.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a config file, and name what is wrong in it.

    It also adds up the GPU memory that its models need.

    Exit codes: 1 where a model does not fit, 2 where the file is wrong.
    """
    from app.commands.check import check_file

    end(check_file(file, gpu, issuers=issuers, as_json=as_json))
