"""The Helm chart as Helm renders it: by Helm's own library in Go, in a process of its own.

As a program it reads lines of JSON, each of which asks for something, and answers with a line each.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from contract.project import PROJECT_FOLDER

CHART = PROJECT_FOLDER / "cluster" / "helm" / "portico"
EXAMPLES = CHART / "examples"
PROD = ("several-accelerators",)  # serves the models of prod.yaml
# A release by its name -> the examples whose values it has, the later over the earlier.
RELEASES = {
    "default": (),
    "one-gpu": ("one-gpu",),
    "eight-gpus": ("eight-gpus",),
    "several-accelerators": PROD,
    "external-secrets": (*PROD, "external-secrets"),
    "incremental-upgrade": (*PROD, "incremental-upgrade"),
}
Values = dict[str, Any]
Objects = dict[tuple[str, str], dict[str, Any]]


class ChartError(ValueError):
    """Helm refuses the values, or cannot render the chart with them."""


def merged(values: Values, others: Values) -> Values:
    """As Helm puts values over others."""
    both = [name for name in others if isinstance(values.get(name), dict) and isinstance(others[name], dict)]
    return values | others | {name: merged(values[name], others[name]) for name in both}


def example(*names: str, **changes: Any) -> Values:
    """The values of these examples together, and changes of them."""
    values: Values = {}
    for name in names:
        values = merged(values, yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))
    return merged(values, changes)


def rendered(values: Values, release: str = "portico") -> Objects:
    """The objects by kind and name. Raises ChartError."""
    files = [text for name, text in _run(json.dumps(values), release).items() if not name.endswith("NOTES.txt")]
    documents = [one for text in files for one in yaml.safe_load_all(text) if one]
    objects = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(objects) == len(documents), "two objects have one name"
    return objects


@cache
def made(release: str) -> Objects:
    """The objects of one of RELEASES. They are shared: do not change them."""
    return rendered(example(*RELEASES[release]))


def notes(values: Values) -> str:
    """What Helm says after an installation."""
    return _run(json.dumps(values), "portico")["portico/templates/NOTES.txt"]


@cache
def _run(values: str, release: str) -> dict[str, str]:
    answer = _asked(do="render", release=release, values=json.loads(values))
    if "error" in answer:
        raise ChartError(answer["error"])
    return answer["files"]


def lint() -> list[str]:
    """What `helm lint --strict` has to say of the chart, but of an icon."""
    return _asked(do="lint")["found"]


def package(folder: Path) -> Path:
    """What `helm package` makes of the chart, in that folder."""
    return Path(_asked(do="package", folder=str(folder))["path"])


@cache
def _helm() -> subprocess.Popen[str]:
    """It ends with this process, which closes its standard input."""
    command = [sys.executable, "-m", "tests.cluster.charts"]
    return subprocess.Popen(
        command,
        cwd=PROJECT_FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # Helm says there that it follows the links to the alerts and the dashboard
        text=True,
    )


def _asked(**request: Any) -> dict[str, Any]:
    process = _helm()
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps(request), file=process.stdin, flush=True)
    line = process.stdout.readline()
    assert line, "Helm's process has died: is helm-python-sdk of locks/dev.txt installed?"
    return json.loads(line)


def main() -> None:
    import helm_python as helm

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "lint":
            report = helm.lint(CHART, strict=True)
            found = [one["error"] for one in report["messages"] if one["error"] != "icon is recommended"]
            return {"found": [*found, *report["errors"]]}
        if request["do"] == "package":
            return {"path": helm.package(CHART, destination=request["folder"])}
        try:
            return {"files": chart.render(request["values"], name=request["release"], namespace="inference")}
        except (helm.HelmValuesError, helm.HelmRenderError) as error:
            return {"error": str(error)}

    with helm.Chart.load(CHART) as chart:
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
