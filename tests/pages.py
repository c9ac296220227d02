"""The pages of the documentation, their blocks of code, and which test runs each.

A block in `text` is what something prints. Every other block is run, or checked, or of a kind that NOT_RUN names.
"""

import os
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple

from contract.project import PROJECT_FOLDER

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(str(path.relative_to(PROJECT_FOLDER)) for path in (PROJECT_FOLDER / "docs").glob("*.md")),
]

# Run against the service of `make serve`, by tests/local/test_readme.py: a word that is only in that example -> what is
# in its output and, where the page shows that, on the page.
EXAMPLES: dict[str, dict[str, list[str]]] = {
    "README.md": {"curl ": ["Paris"], "stream=True": ["lighthouse"]},
    "docs/clients.md": {
        "tool_calls": ["get_weather {'city': 'Paris'}", "sunny", "21"],
        "chat.completions.parse": ["sky='snowy' degrees=2"],
        "responses.create": ["mice"],
        "embeddings.create": ["0.53  A boat crosses the lake.", "0.03  Interest rates"],
        "audio.speech.create": ["I would like a cup of tea without any sugar."],
        "images.generate": [],
        "langchain_openai": ["sky='grey' windy=True"],
        "llama_index.llms": ["sky='grey' windy=True"],
        "instructor.from_openai": ["sky='grey' windy="],
        "from anthropic": ["Paris"],
        'from "openai"': ["Paris"],
        "createOpenAI(": ["Paris"],
        "createOpenAICompatible(": ["grey 7"],
        "app.client": ["top_p clamp 1.5 1.0", "Did you mean `smollm2-135m-instruct`?"],
    },
    "docs/usage.md": {"curl ": ['"object":"page"']},
    "docs/routes.md": {"curl ": ["x-param-adjustments: top_p;action=clamp;from=1.5;to=1.0"]},
}
# Run in a shell, in a copy of the project's folder, by tests/unit/test_pages.py.
IN_A_SHELL = {
    ("README.md", "keys create"),
    ("docs/keys.md", "keys rotate"),
    ("docs/admin.md", "keys create"),
    ("docs/operations.md", "portico-config/keys.json"),
    ("docs/operations.md", "images-secret"),
    ("docs/operations.md", "--dry-run=client"),
}
# Run likewise by tests/engines/test_page_checks.py: `check` imports vLLM, for its arguments.
CHECKS = {("docs/machines.md", "portico check")}
# The steps of these pages are put together and run by a test of their own.
RECIPES = {
    "docs/adding-a-route.md": "tests/unit/test_adding_a_route.py",
    "docs/adding-an-engine.md": "tests/engines/test_adding_an_engine.py",
}
# Commands that no test runs as they stand -> why. tests/unit/test_pages.py looks at what it can without running them.
NOT_RUN = {
    r"export OPENAI_\w+=\S+": "settings of the reader's shell; tests set them",
    r"\. \.venv(-gpu)?/bin/activate": "the environment of the tests is that one",
    r"make (serve|gpu)\b.*": "install packages from an index, and serve until they are stopped",
    r"make \S+": "what tests, lint and locks run in; the target is there",
    r"\.venv/bin/python -m pytest .*": "a test does not run the tests; the paths are there",
    r"(uv )?pip install .*": "installs packages from an index; each is in a lock",
    r"lm_eval .*": "downloads a data set; tests/clients/test_lm_eval.py runs it with tasks of its own",
    r"npm install .*": "installs packages from a registry; each is in package.json",
    r"docker run .*": "needs Docker's daemon, the image and a GPU; what is mounted is checked",
    r"make image.*": "needs Docker's daemon; tests/cluster/test_image.py looks at what it would run",
    r"cd cluster/compose|export COMPOSE_FILE=\S+|docker compose .*": "need Docker; tests/cluster/test_compose.py",
    r"cosign verify .*|docker buildx imagetools .*": "need a registry with a release",
    r"helm (install|upgrade|template|test) .*": "need Helm and a cluster; tests/cluster/test_chart.py renders it",
    r"cluster/with-profile serve deploy \S+": "needs a Ray cluster; tests/cluster/test_three_nodes.py deploys likewise",
}

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$(?:\n\n\1```text\n(.*?)^\1```$)?", re.MULTILINE | re.DOTALL)
BRACES = re.compile(r"^\s*\{ |; \}")  # of a group of commands


class Block(NamedTuple):
    page: str
    language: str
    code: str
    shown: str  # the block in `text` right below: what it prints


@cache
def text_of(page: str) -> str:
    return (PROJECT_FOLDER / page).read_text()


def blocks(*pages: str) -> list[Block]:
    """The blocks of code of these pages, without those that are output."""
    return [
        Block(page, language, textwrap.dedent(code), textwrap.dedent(shown))
        for page in pages
        for _, language, code, shown in FENCE.findall(text_of(page))
        if language != "text"
    ]


def the_block(page: str, word: str) -> Block:
    (found,) = [block for block in blocks(page) if word in block.code and block.language != "yaml"]
    return found


def commands(block: Block) -> list[str]:
    """The commands of a block in bash, each on one line, without comments."""
    joined = re.sub(r"\\\n\s*", "", block.code)
    return [line.strip() for line in re.sub(r"(^|\s)#.*", "", joined, flags=re.MULTILINE).splitlines() if line.strip()]


KUBECTL = """#!/bin/sh
# Instead of a cluster: takes files that are there, and keeps what it is given.
for argument in "$@"; do
  case $argument in
    --from-file=*) test -s "${argument#--from-file=}" || { echo "$argument is not there" >&2; exit 1; } ;;
  esac
done
echo "$@" >> kubectl.log
case " $* " in
  *" -f - "*) cat > /dev/null ;;
  *" -o yaml "*) echo "kind: Secret" ;;
esac
"""


def run_in_a_shell(code: str, folder: Path) -> str:
    """What a block in bash prints. `folder` has what the project's folder has; `kubectl` is a stand-in."""
    for name in (
        "app",
        "cluster",
        "contract",
        "deployments",
        "local_models",
        "locks",
        "serve_configs",
        "pyproject.toml",
    ):
        if not (folder / name).exists():
            (folder / name).symlink_to(PROJECT_FOLDER / name)
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "kubectl").write_text(KUBECTL)
    portico = f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n'  # of this folder, wherever another one is installed
    (programs / "portico").write_text(portico)
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT_FOLDER)}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
