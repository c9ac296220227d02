"""What `python -m app serve` prints once it is ready."""

import shlex
from pathlib import Path

import pytest

from app.commands.serve import banner
from app.config.service import parse_config
from app.keys import LOCAL_KEY
from tests.unit.conftest import config_args

FILE = Path("serve_configs/local.yaml")
VOICE = {"id": "voice", "task": "speech", "engine": "espeak-ng", "source": "./voice"}
TALKER = {"id": "talker", "task": "chat", "engine": "vllm", "source": "./talker"}


@pytest.mark.parametrize(
    ("models", "first", "path", "sends"),
    [
        ([VOICE, TALKER], [], "/chat/completions", '"model":"talker"'),
        ([VOICE], [], "/models", ""),
        ([VOICE, TALKER], ["voice"], "/models", ""),
    ],
    ids=["a chat model, wherever it is listed", "without one, the models are listed", "one that is not up yet"],
)
def test_its_curl_line_suits_the_models(models: list[dict[str, str]], first: list[str], path: str, sends: str) -> None:
    args = config_args(models=models, start_first=first)
    del args["keys"][1]  # it may use one of the other models only
    text = banner(parse_config(args), "127.0.0.1", 8000, FILE)
    command, url, *rest = shlex.split(next(line for line in text.splitlines() if line.startswith("curl")))
    assert (command, url) == ("curl", f"http://127.0.0.1:8000/v1{path}")
    assert f"Authorization: Bearer {LOCAL_KEY}" in rest
    assert sends in " ".join(rest)
    shown = [model["id"] if not first or model["id"] in first else f"{model['id']} (starting)" for model in models]
    assert ", ".join(shown) in text


@pytest.mark.parametrize("enabled", [True, False])
def test_it_names_the_page_where_there_is_one(enabled: bool) -> None:
    text = banner(parse_config(config_args(console={"enabled": enabled})), "127.0.0.1", 8000, FILE)
    assert (" http://127.0.0.1:8000/\n" in text) == enabled


def test_it_says_how_a_running_service_follows_its_file() -> None:
    text = banner(parse_config(config_args()), "127.0.0.1", 8000, FILE)
    program, *arguments = shlex.split(text.rstrip().splitlines()[-1])
    assert Path(program).name == "portico"
    assert arguments == ["deploy", "serve_configs/local.yaml"]
