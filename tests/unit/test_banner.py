"""What `python -m app serve` prints once it is ready."""

import shlex
from pathlib import Path

import pytest

from app.commands.banner import banner
from app.commands.serve_probe import ModelState
from app.config.service import parse_config
from app.keys import LOCAL_KEY
from tests.unit.conftest import config_args

FILE = Path("serve_configs/local.yaml")
ALPHA = [ModelState("alpha", "ready")]
VOICE = {"id": "voice", "task": "speech", "engine": "espeak-ng", "source": "./voice"}
TALKER = {"id": "talker", "task": "chat", "engine": "vllm", "source": "./talker"}


@pytest.mark.parametrize(
    ("models", "states", "path", "sends", "shown"),
    [
        ([VOICE, TALKER], ["ready", "asleep"], "/chat/completions", '"model":"talker"', "voice, talker\n"),
        ([VOICE], ["ready"], "/models", "", "voice\n"),
        ([VOICE, TALKER], ["ready", "loading"], "/models", "", "voice, talker (starting)\n"),
        ([VOICE, TALKER], ["ready", "failed"], "/models", "", "voice, talker (failed)\n"),
    ],
    ids=["a chat model, wherever it is listed", "without one, the models are listed", "not up yet", "failed"],
)
def test_its_curl_line_suits_the_models(
    models: list[dict[str, str]], states: list[str], path: str, sends: str, shown: str
) -> None:
    args = config_args(models=models)
    del args["keys"][1]  # it may use one of the other models only
    seen = [ModelState(model["id"], state) for model, state in zip(models, states, strict=True)]
    text = banner(parse_config(args), "127.0.0.1", 8000, FILE, seen)
    command, url, *rest = shlex.split(next(line for line in text.splitlines() if line.startswith("curl")))
    assert (command, url) == ("curl", f"http://127.0.0.1:8000/v1{path}")
    assert f"Authorization: Bearer {LOCAL_KEY}" in rest
    assert sends in " ".join(rest)
    assert f"  Models    {shown}" in text
    assert ("Portico is ready, and 1 of 2 models failed." in text) == ("failed" in states)


@pytest.mark.parametrize("enabled", [True, False])
def test_it_names_the_page_where_there_is_one(enabled: bool) -> None:
    text = banner(parse_config(config_args(console={"enabled": enabled})), "127.0.0.1", 8000, FILE, ALPHA)
    assert (" http://127.0.0.1:8000/\n" in text) == enabled


def test_it_says_how_a_running_service_follows_its_file() -> None:
    text = banner(parse_config(config_args()), "127.0.0.1", 8000, FILE, ALPHA)
    program, *arguments = shlex.split(text.rstrip().splitlines()[-1])
    assert Path(program).name == "portico"
    assert arguments == ["deploy", "serve_configs/local.yaml"]
