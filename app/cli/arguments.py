"""Arguments and options that several commands take, and what ends a command."""

import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Never, TypeVar

import typer

T = TypeVar("T")


class Status(IntEnum):
    """Exit codes, the same for every command."""

    DONE = 0
    NOT_RIGHT = 1  # the command did its work, and what it looked at is not as it should be
    WRONG = 2  # the command line, a file or a key file is wrong; nothing was done
    NO_SERVICE = 3  # no service runs, or none answers
    STOPPED = 130  # by Ctrl-C


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Address = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        metavar="HOST:PORT",
        help="Address of a Ray cluster that serves, instead of a service that `portico serve` runs on this machine.",
    ),
]
Port = Annotated[
    int | None, typer.Option(metavar="N", help="HTTP port of the service that is meant, where several run here.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="OPENAI_BASE_URL",
        metavar="URL",
        help="Base URL of the service. Left out: of the service that runs on this machine.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="OPENAI_API_KEY", metavar="KEY", help="API key. Left out: the local key, for a service on this machine."
    ),
]
ServeFile = Annotated[Path, typer.Argument(metavar="FILE", help="A Serve config file.")]


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` as an option's parser: the message of its ValueError is what the user reads."""

    def parser(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    parser.__name__ = "text"  # Typer shows it where an option has no metavar
    return parser


def end(status: int) -> Never:
    """End the command."""
    raise typer.Exit(int(status))


def refuse(message: object, status: Status = Status.WRONG) -> Never:
    """End the command with a message on standard error."""
    print(message, file=sys.stderr)
    raise typer.Exit(int(status))


def print_json(data: Any) -> None:
    import json

    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))
