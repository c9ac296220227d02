"""A row of the usage ledger: what each route's request used, and what it cost."""

from typing import Any

import pytest

from app.config.prices import Prices, Quantities
from app.config.service import parse_config
from app.telemetry.record import RequestRecord
from app.usage.row import UsageRow, prices_of, row_of
from tests.unit.conftest import config_args

PRICES = Prices(
    million_input_tokens=2, million_cached_tokens=0.5, million_output_tokens=8, image=0.04, audio_minute=0.006,
    million_characters=15,
)  # fmt: skip
CACHED = {"cached_tokens": 4}


def quantities(usage: dict[str, Any] | None = None, **facts: Any) -> Quantities:
    return RequestRecord("", usage=usage, **facts).quantities()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, Quantities(9, 0, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": CACHED}, Quantities(9, 4, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Quantities(9, 0, 2)),
        ({"prompt_tokens": 9, "completion_tokens": None, "total_tokens": 9}, Quantities(9)),
        ({"input_tokens": 9, "output_tokens": 2, "input_tokens_details": CACHED}, Quantities(9, 4, 2)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Quantities(9)),
        (
            {"input_tokens": 3, "input_tokens_details": {"text_tokens": 3}, "output_tokens": 64, "images": 2},
            Quantities(3, 0, 64, images=2),
        ),
        ({"type": "duration", "seconds": 4.25}, Quantities(seconds=4.25)),
    ],
    ids=["chat", "chat cached", "no details", "no completion", "responses", "embeddings", "images", "transcription"],
)  # fmt: skip
def test_what_an_engine_reports_is_what_was_used(usage: dict[str, Any], expected: Quantities) -> None:
    assert quantities(usage) == expected


def test_speech_is_counted_by_characters_beside_what_the_engine_reports() -> None:
    assert quantities({"input_tokens": 2, "output_tokens": 30}, characters=11) == Quantities(2, 0, 30, characters=11)


def test_a_stream_that_was_cut_is_counted_by_what_was_seen_of_it() -> None:
    assert quantities(streamed=True, makes_text=True, estimated_prompt=9, events=5) == Quantities(9, 0, 5)
    assert quantities(streamed=False, estimated_prompt=9) == Quantities()
    assert quantities(streamed=True, makes_text=True, events=5) == Quantities()  # of audio


def test_a_row_says_who_used_what_and_how_it_ended() -> None:
    record = RequestRecord(
        "id", route="/v1/chat/completions", key_id="web", team_id="sales", model_id="alpha", status=200
    )
    record.usage, record.adjustments = {"prompt_tokens": 9, "completion_tokens": 2}, "top_p;action=drop"
    used = Quantities(9, 0, 2)
    assert row_of(record, 12.5, {}) == UsageRow(
        12.5, "id", "web", "sales", "alpha", "/v1/chat/completions", 200, "ok", *used, False, 0, "top_p;action=drop"
    )


def test_a_row_whose_tokens_were_counted_by_the_gateway_says_so() -> None:
    cut = RequestRecord("id", streamed=True, makes_text=True, estimated_prompt=9, events=1, reason="client_gone")
    assert row_of(cut, 0, {}).is_estimate
    assert not row_of(RequestRecord("id", status=400), 0, {}).is_estimate


@pytest.mark.parametrize(
    ("used", "millionths"),
    [
        (Quantities(input_tokens=1_000_000, cached_tokens=400_000), 1_400_000),
        (Quantities(output_tokens=1), 8),
        (Quantities(images=3), 120_000),
        (Quantities(seconds=90), 9_000),
        (Quantities(characters=100), 1_500),
    ],
    ids=str,
)
def test_a_row_has_its_cost_at_the_model_s_prices(used: Quantities, millionths: int) -> None:
    assert PRICES.millionths(used) == millionths


def test_an_adapter_costs_what_its_model_does_and_a_model_without_prices_nothing() -> None:
    prices = {"million_output_tokens": 8}
    adapted = {
        "id": "alpha", "task": "chat", "engine": "vllm", "source": "./alpha", "engine_kwargs": {"enable_lora": True},
        "adapters": [{"id": "tuned", "source": "./tuned"}], "prices": prices,
    }  # fmt: skip
    free = {"id": "beta", "task": "chat", "engine": "vllm", "source": "./beta"}
    config = parse_config(config_args(models=[adapted, free]))
    known = prices_of(config.models)
    assert known == dict.fromkeys(("alpha", "tuned"), Prices(**prices))
    costs = []
    for model in ("alpha", "tuned", "beta"):
        record = RequestRecord("id", model_id=model, usage={"prompt_tokens": 1, "completion_tokens": 5})
        costs.append(row_of(record, 0, known).cost_millionths)
    assert costs == [40, 40, 0]


def test_a_change_of_prices_is_none_of_the_replicas() -> None:
    entry = {"id": "beta", "task": "chat", "engine": "vllm", "source": "./beta"}
    one, other = (
        parse_config(config_args(models=[entry | {"prices": prices}])) for prices in ({}, {"million_output_tokens": 8})
    )
    assert one.models[0].identity == other.models[0].identity
