"""The command line: `python -m app COMMAND`."""

import argparse
import sys
from pathlib import Path

from app.commands import docs_engines, docs_modules, docs_parameters
from app.commands import keys as key_command
from app.commands import serve as local_service
from app.commands.tune import command as tune_command
from app.config.service import read_serve_config
from app.keys import KeyRing
from app.keys.file import KeyFile
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

    check = commands.add_parser("check", help="check a config file, and name what is wrong in it")
    check.add_argument("file", type=Path)
    check.set_defaults(run=lambda options: _check(options.file))

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


def _check(path: Path) -> int:
    content, config = read_serve_config(path)
    host = (content.get("http_options") or {}).get("host", local_service.DEFAULT_HOST)
    local_service.check_local_key(config, host)
    key_path = config.key_path()
    here = key_path is not None and KeyFile(key_path).version() is not None
    ring = KeyRing(config.keys, key_path if here else None)
    print(f"{path} is right: {len(config.models)} models, {len(ring)} keys.")
    for model in config.models:
        for name in model.unpinned():
            print(
                f"{model.id}: {name} has no `revision`, so whoever owns it can change what is served. Pin its commit."
            )
    if key_path is not None and not here:
        print(f"Its key file {key_path} is not on this machine, so that was not checked.")
    return 0


def _write_docs() -> int:
    for path, page in PAGES.items():
        path.write_text(page())
        print(f"wrote {path.relative_to(PROJECT_FOLDER)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
