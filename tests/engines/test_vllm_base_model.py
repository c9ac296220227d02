"""A base model in a real vLLM engine on CPU: without a chat template it starts, completes, and fills in the middle."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from deployments.vllm.fill_in import FORMS
from local_models.chat import SPECIAL_TOKENS, make_tokenizer

(BEFORE, BETWEEN, BEHIND), *_ = FORMS
COMPLETIONS = "/v1/completions"
SAME = {"max_tokens": 6, "temperature": 0}
ASKED: dict[str, dict[str, Any]] = {
    "a suffix": {"route": COMPLETIONS, "prompt": "def f(", "suffix": "):", **SAME},
    "several": {"route": COMPLETIONS, "prompt": ["def f(", "def g("], "suffix": "):", **SAME},
    "written out": {"route": COMPLETIONS, "prompt": f"{BEFORE}def f({BETWEEN}):{BEHIND}", **SAME},
    "without": {"route": COMPLETIONS, "prompt": "def f(", **SAME},
    "a chat": {"messages": [{"role": "user", "content": "Hi"}]},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The profile of the model, and what it answered."""
    folder = tmp_path_factory.mktemp("models") / "pocket-base"
    shutil.copytree(PROJECT_FOLDER / "local_models" / "pocket-chat", folder)
    make_tokenizer(folder, [*SPECIAL_TOKENS, BEFORE, BETWEEN, BEHIND], [], "")
    for template in folder.glob("*.jinja"):
        template.unlink()
    return asked(folder)


def asked(folder: Path) -> dict[str, Any]:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")
    (entry,) = [model for model in config.models if model.id == "pocket-chat"]
    unused = ("enable_auto_tool_choice", "tool_call_parser")
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.vllm_chat_answers"],
        input=json.dumps(
            {
                "source": str(folder),
                "engine_kwargs": {name: value for name, value in entry.engine_kwargs.items() if name not in unused},
                "speculation": "off",
                "rounds": [list(ASKED.values())],
            }
        ),
        env=os.environ | entry.env,
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    reported = json.loads(result.stdout.rstrip().rpartition("\n")[2])
    return {"profile": reported["profile"]} | dict(zip(ASKED, reported["rounds"][0], strict=True))


def test_what_it_can_do_is_found(found: dict[str, Any]) -> None:
    assert found["profile"]["capabilities"] == ["completions", "fill_in_the_middle", "tokenize"]


def test_a_suffix_stands_where_the_model_was_taught_to_read_it(found: dict[str, Any]) -> None:
    (filled,), (written,), (without,) = (found[name]["choices"] for name in ("a suffix", "written out", "without"))
    assert filled["text"] == written["text"] != without["text"]
    assert found["a suffix"]["usage"] == found["written out"]["usage"]
    assert found["several"]["choices"][0]["text"] == filled["text"]
    assert len(found["several"]["choices"]) == 2


def test_it_does_not_chat(found: dict[str, Any]) -> None:
    assert found["a chat"]["error"]["code"] == "unsupported_capability"
