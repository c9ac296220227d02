"""`portico config schema`."""

from typing import Annotated

import typer

from app.cli.arguments import print_json

application = typer.Typer(
    name="config", help="What a Serve config file may hold.", no_args_is_help=True, rich_markup_mode=None
)


@application.callback()
def _commands() -> None:
    pass


@application.command()
def schema(
    args: Annotated[bool, typer.Option("--args", help="Only of what is under `args` of an application.")] = False,
) -> None:
    """Print the JSON Schema of a Serve config file, for an editor that completes and checks YAML.

    `portico config schema > portico.schema.json`; then, as a file's first line:
    `# yaml-language-server: $schema=portico.schema.json`
    """
    from app.commands.config_schema import args_schema, file_schema

    print_json(args_schema() if args else file_schema())
