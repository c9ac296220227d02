"""Writes serve_configs/prod.yaml into the RayService manifest: `python -m cluster.rayservice`.

KubeRay takes the Serve configuration as a text inside its own resource, so there are two copies; this makes them one.
"""

import sys

import yaml

from contract.project import PROJECT_FOLDER

CONFIG = PROJECT_FOLDER / "serve_configs" / "prod.yaml"
MANIFEST = PROJECT_FOLDER / "cluster" / "kuberay" / "rayservice.yaml"
FIELD = "  serveConfigV2:"
INDENT = " " * 4


def rendered(manifest: str, config: str) -> str:
    """`manifest` with `config` as the value of its serveConfigV2."""
    lines = manifest.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(FIELD))
    end = next(
        number for number in range(start + 1, len(lines)) if lines[number] and not lines[number].startswith(INDENT)
    )
    message = [INDENT + line if line else "" for line in config.splitlines()]
    return "\n".join([*lines[:start], f"{FIELD} |", *message, *lines[end:], ""])


def main() -> int:
    content = rendered(MANIFEST.read_text(), CONFIG.read_text())
    yaml.safe_load(content)
    MANIFEST.write_text(content)
    print(f"wrote {MANIFEST.relative_to(PROJECT_FOLDER)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
