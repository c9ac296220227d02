"""The command line: `python -m app COMMAND`."""

import argparse
import sys
from pathlib import Path

from app.commands import check as check_command
from app.commands import docs_engines, docs_modules, docs_parameters
from app.commands import keys as key_command
from app.commands import serve as local_service
from app.commands.tune import command as tune_command
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER

DOCS = PROJECT_FOLDER / "docs"
PAGES = {
    DOCS / "parameters.md": docs_parameters.page,
    DOCS / "engines.md": docs_engines.page,
    DOCS / "modules.md": docs_modules.page,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description="Portico's command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the service of a config file in the foreground")
    serve.add_argument("file", type=Path, help="a Serve config file, such as serve_configs/local.yaml")
    serve.set_defaults(run=lambda options: local_service.serve(options.file))

    check_command.add_to(commands)

    docs = commands.add_parser("docs", help="write the pages of docs/ that follow from the code")
    docs.set_defaults(run=lambda _: _write_docs())

    key_command.add_to(commands)
    tune_command.add_to(commands)

    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except ConfigError as error:
        print(f"The configuration is wrong:\n{error}", file=sys.stderr)
        return 2


def _write_docs() -> int:
    for path, page in PAGES.items():
        path.write_text(page())
        print(f"wrote {path.relative_to(PROJECT_FOLDER)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
