"""A spoken conversation with the service that `make serve` starts: every model does its part, and each makes sense."""

import base64
import io
import json
from typing import Any

import numpy as np
import openai
from PIL import Image

from tests.local.conftest import CHAT_MODEL, EMBEDDING_MODEL, IMAGE_MODEL, SPEECH_MODEL, TRANSCRIPTION_MODEL

QUESTION = "What is the weather in Paris?"
WEATHER = {"Paris": "It is sunny and 21 degrees."}
WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CAPTIONS = {  # of pictures, by what they are pictures of
    "sunny weather": "a yellow circle on a blue background",
    "a night without a moon": "a white star on a black background",
    "grass": "a green square on a white background",
}


def test_a_spoken_question_is_answered_drawn_and_found_again(client: openai.OpenAI) -> None:
    asked = hear(client, speak(client, QUESTION))
    assert "weather" in asked
    assert "Paris" in asked

    messages: list[Any] = [{"role": "user", "content": asked}]
    wish = answer(client, messages)
    (call,) = wish.tool_calls
    assert call.function.name == "get_weather"
    city = json.loads(call.function.arguments)["city"]
    assert city == "Paris"

    messages += [wish, {"role": "tool", "tool_call_id": call.id, "content": WEATHER[city]}]
    told = answer(client, messages).content
    assert "sunny" in told
    assert "21" in told

    heard = hear(client, speak(client, told))
    assert "sunny" in heard

    subject = nearest(client, heard, list(CAPTIONS))
    assert subject == "sunny weather"
    pictures = {caption: draw(client, caption) for caption in CAPTIONS.values()}
    found = nearest(client, "a yellow disc, like the sun in a blue sky", list(pictures))
    assert found == CAPTIONS[subject]
    assert_yellow_on_blue(pictures[found])


def speak(client: openai.OpenAI, text: str) -> bytes:
    return client.audio.speech.create(model=SPEECH_MODEL, voice="alloy", input=text, response_format="mp3").content


def hear(client: openai.OpenAI, recording: bytes) -> str:
    return client.audio.transcriptions.create(model=TRANSCRIPTION_MODEL, file=("said.mp3", recording)).text


def answer(client: openai.OpenAI, messages: list[Any]) -> Any:
    made = client.chat.completions.create(
        model=CHAT_MODEL, messages=messages, tools=[WEATHER_TOOL], temperature=0, max_tokens=60
    )
    return made.choices[0].message


def nearest(client: openai.OpenAI, text: str, others: list[str]) -> str:
    """The one of `others` that means most nearly what `text` does."""
    data = client.embeddings.create(model=EMBEDDING_MODEL, input=[text, *others]).data
    first, *rest = (np.array(item.embedding) for item in data)
    return others[int(np.argmax([first @ one for one in rest]))]


def draw(client: openai.OpenAI, caption: str) -> bytes:
    made = client.images.generate(model=IMAGE_MODEL, prompt=caption, extra_body={"seed": 7})
    return base64.b64decode(str(made.data[0].b64_json if made.data else ""))


def assert_yellow_on_blue(png: bytes) -> None:
    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float)
    red, _, blue = np.median(np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3)]), axis=0)
    assert blue > red + 60, "the background is blue"
    yellow = (pixels[..., 0] > 150) & (pixels[..., 1] > 150) & (pixels[..., 2] < 130)
    assert 0.02 < yellow.mean() < 0.6, "something yellow is on it"
