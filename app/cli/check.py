"""`portico check FILE`."""

from typing import Annotated

import typer

from app.cli.arguments import ServeFile, end


def check(
    file: ServeFile,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|GIB",
            help="Add up memory for this GPU instead of those that the file names: Ray's accelerator type, such as L4, "
            "or its GiB.",
        ),
    ] = None,
) -> None:
    """Check a config file, and name what is wrong in it.

    It also adds up the GPU memory that its models need.

    Exit codes: 1 where a model does not fit, 2 where the file is wrong.
    """
    from app.commands.check import check_file

    end(check_file(file, gpu))
