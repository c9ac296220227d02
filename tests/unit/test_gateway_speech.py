"""POST /v1/audio/speech at the gateway: a stream of audio that fails never looks like one that ended."""

from typing import Any

import orjson
import pytest

from app.gateway.streaming import StreamBrokenError
from contract.errors import upstream_error
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail

SPEECH = "/v1/audio/speech"
VOICE = Profile(
    engine="espeak-ng",
    capabilities=frozenset({"speech"}),
    lacks={"instructions": "it takes none"},
    limits={"max_characters": 20},
    voices=("ada", "brian"),
)
FAILED = ResponseTail(error=upstream_error().to_wire())


@pytest.fixture(autouse=True)
def _alpha_synthesizes(registry: Any) -> None:
    registry.learn("alpha", VOICE)


def ask(**changes: Any) -> dict[str, Any]:
    return {"model": "alpha", "input": "Hello.", "voice": "ada"} | changes


async def test_audio_is_passed_on_as_it_is(client: Any, relay: Any) -> None:
    relay.items = [ResponseHead(200, "audio/mpeg"), b"one", b"two", ResponseTail({"total_tokens": 3})]
    response = await client.post(SPEECH, json=ask())
    assert (response.content, response.headers["content-type"]) == (b"onetwo", "audio/mpeg")
    assert response.headers["x-usage-characters"] == "6"


async def test_events_that_fail_end_in_an_error(client: Any, relay: Any) -> None:
    relay.items = [ResponseHead(200, EVENT_STREAM), b"event: speech.audio.delta\ndata: {}\n\n", FAILED]
    response = await client.post(SPEECH, json=ask(stream_format="sse"))
    *_, last = response.text.strip().split("\n\n")
    kind, data = last.split("\n")
    assert kind == "event: error"
    assert orjson.loads(data.removeprefix("data: "))["error"]["code"] == "upstream_error"
    assert "speech.audio.done" not in response.text


@pytest.mark.parametrize("ending", [[FAILED], []], ids=["reported", "lost"])
async def test_audio_that_fails_is_cut_off(
    client: Any, relay: Any, ending: list[Any], log_lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """The server sees the exception and drops the connection, so that no client takes the file for whole."""
    relay.items = [ResponseHead(200, "audio/mpeg"), b"one", *ending]
    with pytest.raises(StreamBrokenError):
        await client.post(SPEECH, json=ask())
    assert orjson.loads(log_lines[-1])["reason"] == "upstream_error"
    assert not caplog.records  # a traceback would say no more


async def test_a_failure_before_the_first_audio_has_its_status(client: Any, relay: Any) -> None:
    relay.items = [upstream_error()]
    assert (await client.post(SPEECH, json=ask())).status_code == 502


@pytest.mark.parametrize(
    ("changes", "status", "reported"),
    [
        ({"input": "a" * 21}, 422, "`input` has 21 characters; the model takes 20 at a time"),
        ({"voice": "carol"}, 400, "ada, brian"),
        ({"voice": {"id": "carol"}}, 400, "ada, brian"),
    ],
)
async def test_what_the_model_cannot_synthesize_never_reaches_it(
    client: Any, relay: Any, changes: Any, status: int, reported: str
) -> None:
    response = await client.post(SPEECH, json=ask(**changes))
    assert response.status_code == status
    assert reported in response.json()["error"]["message"]
    assert relay.sent == []


async def test_the_engine_gets_what_was_made_of_the_request(client: Any, relay: Any) -> None:
    relay.items = [ResponseHead(200, "audio/mpeg"), b"one", ResponseTail({})]
    response = await client.post(SPEECH, json=ask(voice={"id": "brian"}, speed=0.1, instructions="Softly.", seed=3))
    (_, _, body) = relay.sent[0]
    assert orjson.loads(body) == {
        "model": "alpha", "input": "Hello.", "voice": "brian", "speed": 0.25, "seed": 3
    }  # fmt: skip
    assert response.headers["x-param-adjustments"] == (
        'speed;action=clamp;from=0.1;to=0.25, instructions;action=drop;reason="it takes none"'
    )
