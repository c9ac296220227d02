"""X-Param-Adjustments: an RFC 9651 List that a structured-fields parser reads back."""

from typing import Any

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.parameters.adjustments import MAX_HEADER_BYTES, header_value, read_header
from contract.adjustments import Adjustment
from contract.errors import upstream_error
from tests.unit.conftest import chat


def test_the_header_reads_as_the_contract_says() -> None:
    value = header_value(
        [
            Adjustment("top_p", "clamp", 1.5, 1.0),
            Adjustment("logit_bias", "drop", reason="not supported by faster-whisper"),
            Adjustment("store", "ignore"),
        ]
    )
    assert value == (
        'top_p;action=clamp;from=1.5;to=1.0, logit_bias;action=drop;reason="not supported by faster-whisper", '
        "store;action=ignore"
    )


@pytest.mark.parametrize(
    ("before", "reported"), [(10**400, '"1000'), (1e-9, '"1e-09"'), (-5, "-5"), (2.5, "2.5"), (1e300, '"1e+300"')]
)
def test_a_number_that_the_grammar_cannot_hold_is_a_string(before: float, reported: str) -> None:
    assert f";from={reported}" in header_value([Adjustment("n", "clamp", before, 1)])


@given(
    st.lists(
        st.builds(
            Adjustment,
            st.text(min_size=1, max_size=64),
            st.just("clamp"),
            st.floats(-1000, 1000).map(lambda number: round(number, 3)) | st.integers(-1000, 1000),
            st.integers(-9, 9),
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_back(adjustments: list[Adjustment]) -> None:
    found, unlisted = read_header(header_value(adjustments))
    assert list(found) == adjustments[: len(found)]
    assert len(found) + unlisted == len(adjustments)


def test_reasons_are_read_back_and_no_header_is_no_adjustment() -> None:
    dropped = (Adjustment("logit_bias", "drop", reason="not here"), Adjustment("store", "ignore"))
    assert read_header(header_value(dropped)) == (dropped, 0)
    assert read_header("") == ((), 0)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_names_give_a_list_within_4_kib_that_counts_what_it_leaves_out(names: list[str]) -> None:
    value = header_value([Adjustment(name, "drop", reason="unknown parameter") for name in names])
    assert len(value) <= MAX_HEADER_BYTES
    items: Any = http_sf.parse(value.encode(), tltype="list")
    last, parameters = items[-1]
    left_out = parameters["count"] if str(last) == "and-more" and "count" in parameters else 0
    assert len(items) - bool(left_out) + left_out == len(names)


CHAT = "/v1/chat/completions"


async def test_the_header_is_there_exactly_when_something_was_changed(client: Any, relay: Any) -> None:
    assert "x-param-adjustments" not in (await client.post(CHAT, json=chat(top_p=0.5, user="u"))).headers
    response = await client.post(CHAT, json=chat(top_p=7, unheard=1))
    assert response.headers["x-param-adjustments"] == (
        'top_p;action=clamp;from=7;to=1.0, unheard;action=drop;reason="unknown parameter"'
    )
    relay.items = [upstream_error()]
    response = await client.post(CHAT, json=chat(top_p=7))
    assert response.status_code == 502
    assert "x-param-adjustments" in response.headers
