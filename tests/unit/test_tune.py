"""`python -m app tune`: prompts are read, candidates chosen, and what was measured is judged. No engine runs here."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from app.__main__ import main
from app.commands.tune import report
from app.commands.tune.candidates import Candidate, candidates
from app.commands.tune.engine import Level, Measured
from app.commands.tune.workload import WorkloadError, enough, read_workload
from app.config.service import parse_config
from app.telemetry.acceptance import Acceptance
from contract.speculation import DraftModel, Ngram, from_wire
from tests.unit.conftest import config_args
from tests.unit.test_config import entry


def workload(folder: Path, *lines: str) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_line_is_a_prompt_or_a_chat_body(tmp_path: Path) -> None:
    path = workload(
        tmp_path,
        '{"prompt": "Hi"}',
        "",
        '{"model": "other", "messages": [{"role": "user", "content": "Ho"}], "max_tokens": 7, "stream": true, "n": 4}',
    )
    first, second = read_workload(path, 128)
    assert (first.line, first.body["messages"]) == (1, [{"role": "user", "content": "Hi"}])
    assert first.body["max_tokens"] == 128
    assert (second.line, second.body["max_tokens"]) == (3, 7)
    assert not {"model", "stream", "n"} & set(second.body)


def test_what_no_speculating_engine_takes_is_left_out_and_reported(tmp_path: Path) -> None:
    (prompt,) = read_workload(workload(tmp_path, '{"prompt": "Hi", "logit_bias": {"3": -100}, "min_p": 0.1}'), 8)
    assert prompt.dropped == ("logit_bias", "min_p")
    assert not {"logit_bias", "min_p"} & set(prompt.body)


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ('{"prompt": "Hi"', "this is not JSON"),
        ("[]", "a line is a chat body"),
        ("{}", "a line is a chat body"),
        ('{"prompt": "Hi", "messages": []}', "one of both"),
        ('{"prompt": 3}', "`prompt` must be a text"),
        ('{"messages": []}', "messages"),
        ('{"messages": [{"role": "nobody", "content": "x"}]}', "role"),
        ('{"prompt": "Hi", "temperature": "warm"}', "temperature"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reported: str, capsys: Any) -> None:
    path = workload(tmp_path, '{"prompt": "fine"}', line)
    with pytest.raises(WorkloadError, match="line 2") as caught:
        read_workload(path, 8)
    assert reported in str(caught.value)
    assert main(["tune", "pocket-chat", "--workload", str(path)]) == 2
    assert "line 2" in capsys.readouterr().err


def test_an_empty_or_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="is empty"):
        read_workload(workload(tmp_path), 8)
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_workload(tmp_path / "nowhere", 8)


def test_a_model_that_cannot_be_tuned_is_reported(tmp_path: Path, capsys: Any) -> None:
    path = workload(tmp_path, '{"prompt": "Hi"}')
    assert main(["tune", "pocket-embed", "--workload", str(path)]) == 2
    assert "no chat model of vllm with the id 'pocket-embed'; it has pocket-chat" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["0", "1,x", "", "-1"])
def test_a_wrong_concurrency_is_reported(tmp_path: Path, wrong: str, capsys: Any) -> None:
    assert main(["tune", "pocket-chat", "--workload", str(tmp_path), f"--concurrency={wrong}"]) == 2
    assert "such as 1,4,16" in capsys.readouterr().err


def test_a_wrong_candidate_is_reported(tmp_path: Path, capsys: Any) -> None:
    assert main(["tune", "pocket-chat", "--workload", str(tmp_path), "--candidate", "{method: draft_model}"]) == 2
    assert "model: it is missing" in capsys.readouterr().err


def test_there_are_prompts_enough_to_keep_so_many_under_way(tmp_path: Path) -> None:
    prompts = read_workload(workload(tmp_path, *(f'{{"prompt": "{n}"}}' for n in range(3))), 8)
    assert [prompt.line for prompt in enough(prompts, 1)] == [1, 2, 3]
    assert [prompt.line for prompt in enough(prompts, 4)] == [1, 2, 3, 1, 2, 3, 1, 2]


def model(**changes: Any) -> Any:
    return parse_config(config_args(models=[entry(**changes)], keys=[{"id": "a" * 12, "sha256": "0" * 64}])).models[0]


def test_the_usual_candidates_are_off_n_grams_auto_what_the_entry_says_and_the_drafts() -> None:
    names = [one.name for one in candidates(model(), ["./m/small"], [])]
    assert names == ["off", "ngram 4", "auto", "draft_model 4 small"]
    names = [one.name for one in candidates(model(speculation={"method": "mtp"}), [], [])]
    assert names == ["off", "ngram 4", "auto", "mtp 1"]


def test_candidates_that_are_given_take_the_place_of_the_usual_ones() -> None:
    given = [Ngram(num_speculative_tokens=8), Ngram(num_speculative_tokens=8, prompt_lookup_min=3)]
    found = candidates(model(speculation="auto"), [], given)
    assert [one.speculation for one in found] == ["off", *given]
    assert len({one.name for one in found}) == 3


def measured(*rates: float, accepted: int = 0) -> Measured:
    acceptance = Acceptance(10, 40, accepted)
    return Measured(None, tuple(Level(2**n, rate, 1 / rate, acceptance) for n, rate in enumerate(rates)))


def results(**rates: tuple[float, ...]) -> report.Results:
    methods: dict[str, Any] = {"off": "off", "ngram": Ngram(), "draft": DraftModel(model="./small")}
    return {name: (Candidate(name, methods[name]), measured(*one, accepted=20)) for name, one in rates.items()}


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"off": (100, 400), "ngram": (104, 416), "draft": (90, 90)}, "off"),
        ({"off": (100, 400), "ngram": (106, 424), "draft": (90, 90)}, "ngram"),
        ({"off": (100, 400), "ngram": (200, 300), "draft": (150, 500)}, "draft"),
        ({"off": (100, 400), "ngram": (200, 200), "draft": (90, 90)}, "off"),
    ],
    ids=["within the noise", "beyond it", "the best over all concurrencies", "what is won alone is lost together"],
)
def test_the_winner_is_the_best_geometric_mean_and_clearly_better_than_off(rates: Any, expected: str) -> None:
    assert report.winner(results(**rates)).name == expected


def test_the_table_and_the_chart_show_every_number() -> None:
    found = results(off=(100.0, 400.0), ngram=(250.0, 500.0))
    console = Console(width=80, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(report.table(found), report.chart(found))
    shown = capture.get()
    for text in ("250.0", "2.50x", "1.25x", "4.00", "50%", "3.00", "1 at once", "2 at once", "500 tokens/s"):
        assert text in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("speculation", ["off", "auto", Ngram(), DraftModel(model="./small")], ids=str)
def test_the_winning_block_is_what_a_model_entry_takes(speculation: Any) -> None:
    content = yaml.safe_load(report.block(Candidate("x", speculation)))
    assert from_wire(content["speculation"]) == speculation
