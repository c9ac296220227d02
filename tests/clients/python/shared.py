"""What the tests of every client use: a question, a tool, an object, and how much a random model may say."""

from typing import Literal

import openai
import pydantic

QUESTION = "How is the weather?"
BRIEF = 8  # tokens of an answer whose text nobody reads
ROOMY = 600  # tokens: more than any tool call or object below takes

# In `extra_body`, as OpenAI's responses route has neither. Weights are random: the same seed makes a run repeatable,
# and without the end of turn (token 3) an answer is as long as its limit.
SEEDED = {"seed": 1}
ENDLESS = SEEDED | {"logit_bias": {"3": -100}}
SOON_OVER = SEEDED | {"logit_bias": {"3": 3}}


class Weather(pydantic.BaseModel):
    """The weather of a place."""

    sky: Literal["clear", "grey"]
    degrees: int = pydantic.Field(ge=-20, le=40)
    windy: bool


def get_weather(unit: Literal["celsius", "kelvin"], tomorrow: bool) -> str:
    """Tell the weather here."""
    return f"{'grey' if tomorrow else 'clear'}, 20 {unit}"


RESULTS = {get_weather(unit, tomorrow) for unit in ("celsius", "kelvin") for tomorrow in (False, True)}


def assert_no_such_model(error: BaseException | None) -> None:
    assert isinstance(error, openai.NotFoundError)
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
