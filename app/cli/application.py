"""The commands, and the exit status of one. Each imports what it needs when it runs, so that `--help` is quick."""

import sys
from typing import Annotated

import typer

from app.cli import (
    audit,
    chat,
    check,
    config,
    deploy,
    docs,
    doctor,
    fetch,
    keys,
    logs,
    models,
    serve,
    smoke,
    status,
    stop,
    tune,
    usage,
)
from app.cli.arguments import Status

PROGRAM = "portico"
HELP = """Serve models with OpenAI's HTTP API, on this machine or on a Ray cluster.

Exit codes: 0 done; 1 what was looked at is not as it should be; 2 the command line or a file is wrong; 3 no service
runs, or none answers; 130 stopped by Ctrl-C.
"""

application = typer.Typer(
    name=PROGRAM,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: it can be searched, and a message is not broken by a frame
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from contract.project import VERSION

        print(f"{PROGRAM} {VERSION}")
        raise typer.Exit()


@application.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for function in (
    serve.serve, deploy.deploy, status.status, logs.logs, stop.stop, check.check, doctor.doctor, fetch.fetch,
    models.models, chat.chat, smoke.smoke, audit.audit, tune.tune, usage.usage, docs.docs,
):  # fmt: skip
    application.command()(function)
application.add_typer(keys.application)
application.add_typer(config.application)


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns its exit status."""
    try:
        application(arguments, prog_name=PROGRAM)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except ValueError as error:
        from contract.fields import ConfigError  # here, since it takes as long to import as all of this

        if not isinstance(error, ConfigError):
            raise
        print(f"The configuration is wrong:\n{error}", file=sys.stderr)
        return Status.WRONG
    return Status.DONE
