"""How many tokens a request reserves, before anybody has read it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from app.budgets.estimate import TOKENS_PER_IMAGE, CountedFields, Estimator
from app.endpoints.messages import MESSAGES
from contract.project import PROJECT_FOLDER

CONTEXT = 2048
TEXT = CountedFields(
    ("messages", "input", "tools"),
    ("max_completion_tokens", "max_tokens", "max_output_tokens"),
    frozenset({"image_url"}),
)
NO_TEXT = CountedFields(("input",))
PROMPTS = CountedFields(("suffix",), ("max_tokens",), several="prompt", choices=("n", "best_of"), default_limit=16)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def estimate(**request: Any) -> Any:
    return Estimator().estimate("alpha", request, TEXT, CONTEXT)


def test_without_a_tokenizer_four_bytes_are_a_token() -> None:
    assert estimate(messages=[{"role": "user", "content": "a" * 396}], max_tokens=7) == (100, 7)
    assert estimate(input="a" * 400, max_output_tokens=7) == (100, 7)


def test_without_a_limit_the_answer_may_fill_the_context() -> None:
    assert estimate(input="a" * 400) == (100, CONTEXT - 100)


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        ({"max_tokens": 10**9}, CONTEXT - 1),
        ({"max_tokens": 5, "max_completion_tokens": 3}, 3),
        ({"max_tokens": 5, "n": 4}, 20),
        ({"max_tokens": 5, "n": 10**9}, 640),
        ({"max_tokens": 5.0, "n": 4.0}, 20),  # whole floats are legal integers
        ({"max_tokens": 1e300, "n": 1}, CONTEXT - 1),
        ({"max_tokens": 5, "n": 4, "temperature": 0}, 5),  # one choice, since all would be the same
        ({"max_tokens": 5, "n": 4, "temperature": -1.0}, 5),  # clamped to 0
        ({"max_tokens": 5, "n": 4, "temperature": 0.1}, 20),
    ],
)
def test_limits_and_choices(limits: Any, answer: int) -> None:
    assert estimate(input="abc", **limits) == (1, answer)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ("a" * 400, 100),
        (["a" * 400] * 500, 50_000),  # each may fill a context of its own
        ([7] * 300, 300),
        ([[7, 8], [9]], 3),
        ([], 0),
        ([True, "x", None, {}], 1),
        (None, 0),
    ],
)
def test_many_inputs_and_token_ids_count_all_together(given: Any, tokens: int) -> None:
    found = Estimator().estimate("alpha", {"input": given, "max_tokens": 7}, NO_TEXT, CONTEXT)
    assert found.answer == 0
    assert found.prompt == pytest.approx(tokens, abs=4)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a" * 400, [100]),
        (["a" * 400, "b" * 40], [100, 10]),
        ([7] * 300, [300]),
        ([[7, 8], [9]], [2, 1]),
        ([[7] * 5000, [9]], [CONTEXT, 1]),  # the first is too long; the engine says so
        ([], [0]),
        ([None, {}], [0, 0]),
        (None, [0]),
    ],
)
def test_each_of_several_prompts_has_a_context_and_an_answer_of_its_own(prompt: Any, prompts: list[int]) -> None:
    found = Estimator().estimate("alpha", {"prompt": prompt, "max_tokens": 7}, PROMPTS, CONTEXT)
    assert found == (sum(prompts), sum(min(7, CONTEXT - one) for one in prompts))


def test_a_suffix_belongs_to_every_prompt_and_the_default_limit_and_the_candidates_count() -> None:
    request = {"prompt": ["a" * 40, "b" * 40], "suffix": "c" * 80, "n": 2, "best_of": 5}
    assert Estimator().estimate("alpha", request, PROMPTS, CONTEXT) == (60, 2 * 16 * 5)


@pytest.mark.parametrize(("prompts", "choices"), [(1, 128), (3, 42), (128, 1), (500, 1)])
def test_the_choices_of_all_prompts_together_are_as_many_as_may_be(prompts: int, choices: int) -> None:
    request = {"prompt": ["a"] * prompts, "max_tokens": 7, "n": 128}
    assert Estimator().estimate("alpha", request, PROMPTS, CONTEXT).answer == min(prompts, 128) * choices * 7


async def test_long_prompts_are_not_tokenized_on_the_event_loop() -> None:
    estimator = Estimator()
    await estimator.load("alpha", str(PROJECT_FOLDER / "local_models" / "pocket-chat"))
    short, long = (
        estimator.estimate("alpha", {"prompt": ["the weather in Paris " * 8] * count}, PROMPTS, CONTEXT).prompt / count
        for count in (2, 128)
    )
    assert long == len("the weather in Paris " * 8) / 4 != short


def test_an_image_is_not_read_as_text() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    found = estimate(messages=[{"role": "user", "content": [part]}], max_tokens=1)
    assert TOKENS_PER_IMAGE <= found.prompt < TOKENS_PER_IMAGE + 10


LONG = "a" * 500_000
TOKENS = len(LONG) // 4
IMAGE_OF_TEXT = {"type": "image", "source": LONG}


def of_messages(**request: Any) -> int:
    """Tokens of a prompt of Anthropic's API in a long context."""
    prompt: int = Estimator().estimate("alpha", request, MESSAGES.counted, 10**6).prompt
    return prompt


@pytest.mark.parametrize("given", [{"source": LONG}, {"a": IMAGE_OF_TEXT}, {LONG: 1}, {"a": [10**7] * 50_000}])
def test_the_input_of_a_call_counts_as_the_text_that_it_is_in_the_prompt(given: dict[str, Any]) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given}
    found = of_messages(messages=[{"role": "assistant", "content": [call]}])
    assert TOKENS < found < TOKENS * 1.2


@pytest.mark.parametrize(
    "schema", [{"properties": {"source": {"description": LONG}}}, {"x": IMAGE_OF_TEXT}, {LONG: {}}]
)
def test_the_schema_of_a_tool_counts_as_text(schema: dict[str, Any]) -> None:
    found = of_messages(tools=[{"name": "f", "input_schema": schema}])
    assert TOKENS < found < TOKENS + 100
    function = {"name": "f", "parameters": schema}
    found = Estimator().estimate("alpha", {"tools": [{"type": "function", "function": function}]}, TEXT, 10**6).prompt
    assert TOKENS < found < TOKENS + 100


def test_an_image_in_the_result_of_a_tool_is_not_read_as_text() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": LONG}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image]}
    found = of_messages(messages=[{"role": "user", "content": [result, image]}])
    assert 2 * TOKENS_PER_IMAGE <= found < 2 * TOKENS_PER_IMAGE + 20


async def test_a_small_tokenizer_counts_exactly() -> None:
    text = "the weather in Paris"
    folder = PROJECT_FOLDER / "local_models" / "pocket-chat"
    estimator = Estimator()
    await estimator.load("alpha", str(folder))
    tokens = len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids)
    assert estimator.estimate("alpha", {"input": text}, TEXT, CONTEXT).prompt == tokens != len(text) // 4


async def test_a_hub_name_has_no_tokenizer_here() -> None:
    estimator = Estimator()
    await estimator.load("alpha", "Qwen/Qwen3-8B")
    assert estimator.estimate("alpha", {"input": "a" * 40, "max_tokens": 1}, TEXT, CONTEXT) == (10, 1)


@given(st.dictionaries(st.sampled_from(["messages", "input", "tools", "n", "max_tokens", "other"]), JSON))
def test_any_json_has_an_estimate(request_body: dict[str, Any]) -> None:
    found = Estimator().estimate("alpha", request_body, TEXT, CONTEXT)
    assert 0 <= found.prompt <= CONTEXT
    assert 0 <= found.answer <= 128 * CONTEXT
    assert Estimator().estimate("alpha", request_body, NO_TEXT, CONTEXT).prompt >= 0


@given(st.dictionaries(st.sampled_from(["prompt", "suffix", "n", "best_of", "max_tokens"]), JSON))
def test_any_json_of_prompts_has_an_estimate(request_body: dict[str, Any]) -> None:
    found = Estimator().estimate("alpha", request_body, PROMPTS, CONTEXT)
    assert 0 <= found.prompt <= 128 * CONTEXT
    assert 0 <= found.answer <= 128 * CONTEXT
