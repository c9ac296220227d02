"""What becomes of vLLM's messages, of which a client may have written a large part."""

import orjson
import pytest

from contract.errors import ApiError
from deployments.vllm.errors import MAX_MESSAGE_LENGTH, ErrorMap, unreported

MEGABYTE = 2**20


def of(message: str) -> ApiError:
    errors = ErrorMap(prompt="messages", format="response_format", reported=unreported)
    return errors.of_answer(400, orjson.dumps({"error": {"message": message, "param": "top_p"}}))


@pytest.mark.timeout(20)  # each took minutes, while the replica answered nobody
@pytest.mark.parametrize("part", [" (value=", "<", " /a", " (parameter=x)", "File ", "A "])
def test_a_long_message_is_read_in_one_pass(part: str) -> None:
    assert len(of("No. " + part * (MEGABYTE // len(part)) + "!").message) <= MAX_MESSAGE_LENGTH


def test_what_vllm_appends_is_left_out() -> None:
    assert of("It must be below 2. (parameter=top_p, value=3)").message == "It must be below 2."
    assert of("It must be (value=3) or less.").message == "It must be (value=3) or less."


@pytest.mark.parametrize("message", ["at /srv/models/x", "<class 'X'>", "see 10.0.0.1", "ValueError: no"])
def test_what_tells_of_the_inside_is_replaced(message: str) -> None:
    assert of(message).message == "The model's engine does not take this request as it is; simplify it."
