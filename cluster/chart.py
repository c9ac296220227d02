"""Writes into the Helm chart what is known elsewhere: `python -m cluster.chart`.

Its values have models of serve_configs/, and its JSON Schema has those of a model's entry and of the configuration.
"""

import json
import sys
import textwrap
from typing import Any

import yaml

from app.commands.config_schema import args_schema
from contract.project import PROJECT_FOLDER

HELM = PROJECT_FOLDER / "cluster" / "helm"
CHART = HELM / "portico"
SCHEMA = HELM / "values.schema.yaml"
# A file of values -> the Serve configuration whose models it has.
MODELS = {"values.yaml": "one-gpu-chat.yaml", "examples/several-accelerators.yaml": "prod.yaml"}
OF_THE_CHART = ("models", "key_file", "cluster")  # what the chart adds to `config` by itself
FIELD = "models:"


def block(lines: list[str]) -> tuple[int, int]:
    """The lines below `models:`, as begin and end: all that are indented more than it."""
    start = next(number for number, line in enumerate(lines) if line.strip() == FIELD)
    inner = " " * (lines[start].index(FIELD) + 1)
    ends = (number for number in range(start + 1, len(lines)) if lines[number] and not lines[number].startswith(inner))
    return start + 1, next(ends, len(lines))


def with_models(values: str, config: str) -> str:
    """`values` with the models of a Serve `config`, comments and all."""
    theirs = config.splitlines()
    start, end = block(theirs)
    models = textwrap.indent(textwrap.dedent("\n".join(theirs[start:end])), "  ").rstrip()
    ours = values.splitlines()
    start, end = block(ours)
    return "\n".join([*ours[:start], models, "", *ours[end:]]).rstrip() + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of the chart's values."""
    made: dict[str, Any] = yaml.safe_load(SCHEMA.read_text())
    args = args_schema()
    for name in ("$schema", "title", "required"):
        args.pop(name)
    made["$defs"] |= args.pop("$defs")
    args["properties"] = {name: one for name, one in args["properties"].items() if name not in OF_THE_CHART}
    made["$defs"]["Args"] = args
    return made


def files() -> dict[str, str]:
    """What the chart's files hold that this writes, by their paths in it."""
    configs = PROJECT_FOLDER / "serve_configs"
    found = {
        name: with_models((CHART / name).read_text(), (configs / config).read_text()) for name, config in MODELS.items()
    }
    return found | {"values.schema.json": json.dumps(schema(), indent=1) + "\n"}


def main() -> int:
    for name, content in files().items():
        yaml.safe_load(content)
        (CHART / name).write_text(content)
        print(f"wrote {(CHART / name).relative_to(PROJECT_FOLDER)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
