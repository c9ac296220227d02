"""The notebooks about the service of `make serve`, each run in a kernel of its own: what a reader sees and hears."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.notebooks import AUDIO, PLOT, most_pieces, printed, run, shown


@pytest.fixture
def run_notebook(local_service: Service) -> Any:
    """Runs one by its name, for the running service."""
    settings = {"OPENAI_BASE_URL": local_service.base_url, "OPENAI_API_KEY": LOCAL_KEY}
    return lambda name: run(name, **settings, PORTICO_KEY_FILE=str(local_service.key_file))


def sizes(notebook: Any) -> list[tuple[int, int]]:
    return [Image.open(io.BytesIO(base64.b64decode(png))).size for png in shown(notebook, PLOT)]


def test_first_steps_show_images_players_and_streams(run_notebook: Any) -> None:
    notebook = run_notebook("first_steps")
    assert len(shown(notebook, PLOT)) == 3
    assert (256, 256) in sizes(notebook), "the image as it was drawn"
    players = shown(notebook, AUDIO)
    assert len(players) == 2
    assert all("<audio" in player and "base64," in player for player in players)
    assert most_pieces(notebook) > 20, "a text that is seen to come"
    for fact in ("Paris", "mice", "A boat crosses the lake.", "transcript.text.delta", "model_not_found"):
        assert fact in printed(notebook)


def test_tools_and_structured_output_call_a_function_and_fit_the_schema(run_notebook: Any) -> None:
    notebook = run_notebook("tools_and_structured_output")
    results = shown(notebook, "text/plain")
    assert "('tool_calls', 'get_weather', {'city': 'Paris'})" in results
    assert results.count("Weather(sky='snowy', degrees=2)") == 2, "on both routes"
    assert most_pieces(notebook) > 10, "JSON that is seen to come"
    for fact in ("get_weather", "sunny", "unsupported_parameter", "invalid_json_schema"):
        assert fact in printed(notebook)


def test_embeddings_and_search_plot_what_is_alike_and_rank_by_meaning(run_notebook: Any) -> None:
    notebook = run_notebook("embeddings_and_search")
    assert len(shown(notebook, PLOT)) == 3
    lines = printed(notebook).splitlines()
    for question, best in (("cross the water", "A boat crosses"), ("my savings", "She saves a tenth")):
        (place,) = [number for number, line in enumerate(lines) if question in line]
        assert best in lines[place + 1]


def test_load_and_budgets_plot_latency_and_what_is_left_and_show_refusals(run_notebook: Any) -> None:
    notebook = run_notebook("load_and_budgets")
    assert len(shown(notebook, PLOT)) == 3
    at_once, _, retried = printed(notebook).partition("with retries:")
    assert "3 at a time" in at_once
    assert retried.count("200 after") == 6
    assert "40 times 429, Retry-After [1] s" in retried
    assert shown(notebook, "text/plain")[-1] == "'revoked'"
