"""`models`, `chat` and `smoke` against a stand-in service: what they send, and what they say where it fails."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from app.__main__ import main
from app.cli.arguments import Status
from app.keys import LOCAL_KEY

CAPABILITIES = {"talker": ["chat", "tools"], "singer": ["speech"], "hearer": ["transcriptions"]}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "It is "}}]},
    {"choices": [{"index": 0, "delta": {"content": "Paris."}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
]


class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers as the service does, but for what a test breaks."""

    broken: ClassVar[dict[str, Any]] = {}  # path -> (status, message), "empty", or "cut": a stream without its end
    requests: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, body: bytes) -> None:
        self.requests.append((f"{self.command} {self.path}", self.headers["authorization"], body))
        broken = self.broken.get(self.path)
        if isinstance(broken, tuple):
            status, message = broken
            self._send(status, json.dumps({"error": {"message": message, "type": "", "code": None, "param": None}}))
        elif broken == "empty":
            self._send(200, "")
        elif self.path == "/metrics":
            self._send(200, "", "text/plain; version=0.0.4")
        elif self.path == "/v1/models":
            self._send(200, json.dumps({"object": "list", "data": [{"id": model} for model in CAPABILITIES]}))
        elif self.path.startswith("/v1/models/"):
            model = self.path.rpartition("/")[2]
            ours = {"engine": "stand-in", "capabilities": CAPABILITIES[model], "limits": {"context_length": 2048}}
            self._send(200, json.dumps({"id": model, "portico": ours | {"voices": ["alloy", "ash"]}}))
        elif b'"stream": true' in body.replace(b":true", b": true"):
            events = [f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS]
            self._send(200, "".join(events) + ("" if broken else "data: [DONE]\n\n"), "text/event-stream")
        else:
            self._send(200, "{}")

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Request-Id", "01234567-89ab-cdef-0123-456789abcdef")
        self.send_header("X-Param-Adjustments", "top_p;action=clamp;from=2;to=1")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its base URL."""
    monkeypatch.setattr(StandIn, "broken", {})
    monkeypatch.setattr(StandIn, "requests", [])
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


class TestModels:
    def test_it_shows_what_each_model_can_do(self, stand_in: str, capsys: Any) -> None:
        assert main(["models", "--base-url", stand_in]) == 0
        shown = capsys.readouterr().out
        assert "talker" in shown
        assert "chat, tools" in shown
        assert "2,048" in shown

    def test_json_has_the_same_for_machines(self, stand_in: str, capsys: Any) -> None:
        assert main(["models", "--base-url", stand_in, "--json"]) == 0
        assert {one["id"]: one["capabilities"] for one in json.loads(capsys.readouterr().out)} == CAPABILITIES

    def test_the_key_is_the_local_one_or_the_one_that_is_given(self, stand_in: str) -> None:
        main(["models", "--base-url", stand_in])
        main(["models", "--base-url", stand_in, "--api-key", "sk-mine"])
        keys = [key for what, key, _ in StandIn.requests if what == "GET /v1/models"]
        assert keys == [f"Bearer {LOCAL_KEY}", "Bearer sk-mine"]

    def test_the_local_key_is_never_sent_elsewhere(self, capsys: Any) -> None:
        assert main(["models", "--base-url", "https://ai.example.org/v1"]) == Status.WRONG
        assert "needs an API key: give `--api-key`, or set OPENAI_API_KEY" in capsys.readouterr().err

    def test_a_key_that_is_refused_is_told_in_the_service_s_words(self, stand_in: str, capsys: Any) -> None:
        StandIn.broken["/v1/models"] = (401, "There is no such API key.")
        assert main(["models", "--base-url", stand_in]) == Status.NOT_RIGHT
        assert "The service answers 401: There is no such API key." in capsys.readouterr().err

    def test_where_nothing_answers_the_status_is_3(self, capsys: Any) -> None:
        assert main(["models", "--base-url", "http://127.0.0.1:9/v1"]) == Status.NO_SERVICE
        assert "Nothing answers at http://127.0.0.1:9/v1" in capsys.readouterr().err


class TestChat:
    def ask(self, stand_in: str, *options: str) -> int:
        return main(["chat", "--base-url", stand_in, "--message", "What is the capital of France?", *options])

    def test_the_answer_is_on_standard_output_and_what_is_said_of_it_is_not(self, stand_in: str, capsys: Any) -> None:
        assert self.ask(stand_in) == 0
        printed = capsys.readouterr()
        assert printed.out == "It is Paris.\n"
        for fact in ("4 tokens", "first after", "changed: top_p;action=clamp", "01234567-89ab-cdef-0123-456789abcdef"):
            assert fact in printed.err

    def test_quiet_shows_the_answer_only(self, stand_in: str, capsys: Any) -> None:
        assert self.ask(stand_in, "--quiet") == 0
        assert capsys.readouterr().err == ""

    def test_the_options_are_sent(self, stand_in: str) -> None:
        self.ask(stand_in, "--system", "Be brief.", "--temperature", "0", "--max-tokens", "9")
        body = json.loads(StandIn.requests[-1][2])
        assert body["model"] == "talker"
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert (body["temperature"], body["max_tokens"], body["stream"]) == (0, 9, True)

    def test_a_conversation_remembers_what_was_said(
        self, stand_in: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = iter(["One?", "Two?", ""])
        monkeypatch.setattr("builtins.input", lambda _: next(lines))
        assert main(["chat", "talker", "--base-url", stand_in]) == 0
        said = [message["content"] for message in json.loads(StandIn.requests[-1][2])["messages"]]
        assert said == ["One?", "It is Paris.", "Two?"]

    def test_an_answer_that_breaks_off_does_not_look_whole(self, stand_in: str, capsys: Any) -> None:
        StandIn.broken["/v1/chat/completions"] = "cut"
        assert self.ask(stand_in) == Status.NOT_RIGHT
        assert "The answer broke off." in capsys.readouterr().err

    def test_without_a_model_that_chats_it_says_so(
        self, stand_in: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(CAPABILITIES, "talker", ["embeddings"])
        assert self.ask(stand_in) == Status.WRONG
        assert "has no model that chats and that this key may use" in capsys.readouterr().err


class TestSmoke:
    def outcomes(self, stand_in: str, capsys: Any) -> tuple[int, dict[str, dict[str, Any]]]:
        status = main(["smoke", stand_in, "--json"])
        return status, {one["route"]: one for one in json.loads(capsys.readouterr().out)}

    def test_it_asks_each_route_that_the_models_have_and_no_other(self, stand_in: str, capsys: Any) -> None:
        _, found = self.outcomes(stand_in, capsys)
        assert set(found) == {
            "/health", "/ready", "/metrics", "/openapi.json", "/v1/models", "/v1/models/{id}", "/v1/chat/completions",
            "/v1/chat/completions (stream)", "/v1/responses", "/v1/responses (stream)",
            "/v1/responses/input_tokens", "/v1/audio/transcriptions", "/v1/audio/speech",
            "/v1/messages", "/v1/messages (stream)", "/v1/messages/count_tokens",
        }  # fmt: skip
        assert found["/v1/chat/completions"]["adjustments"] == "top_p;action=clamp;from=2;to=1"
        assert found["/v1/chat/completions"]["model"] == "talker"

    def test_all_good_ends_with_0(self, stand_in: str, capsys: Any) -> None:
        status, found = self.outcomes(stand_in, capsys)
        assert status == 0
        assert all(one["good"] and one["milliseconds"] > 0 for one in found.values())

    def test_a_recording_is_sent_as_a_file(self, stand_in: str, capsys: Any) -> None:
        self.outcomes(stand_in, capsys)
        (sent,) = [body for what, _, body in StandIn.requests if what == "POST /v1/audio/transcriptions"]
        assert b'filename="smoke.wav"' in sent
        assert b"hearer" in sent

    @pytest.mark.parametrize(
        ("route", "broken", "reported"),
        [
            ("/v1/audio/speech", (502, "The engine failed."), "The engine failed."),
            ("/v1/responses", (503, "The model is busy."), "The model is busy."),
            ("/ready", (503, "talker is starting"), "talker is starting"),
        ],
    )
    def test_what_fails_is_told_and_ends_with_1(
        self, stand_in: str, capsys: Any, route: str, broken: Any, reported: str
    ) -> None:
        StandIn.broken[route] = broken
        status, found = self.outcomes(stand_in, capsys)
        assert status == Status.NOT_RIGHT
        assert not found[route]["good"]
        assert found[route]["note"] == reported

    def test_a_stream_that_breaks_off_is_no_success(self, stand_in: str, capsys: Any) -> None:
        StandIn.broken["/v1/chat/completions"] = "cut"
        status, found = self.outcomes(stand_in, capsys)
        assert status == Status.NOT_RIGHT
        assert found["/v1/chat/completions (stream)"]["note"] == "the stream broke off"

    def test_an_empty_answer_is_no_success_but_metrics_may_be_empty_at_first(self, stand_in: str, capsys: Any) -> None:
        StandIn.broken["/v1/audio/speech"] = "empty"
        _, found = self.outcomes(stand_in, capsys)
        assert found["/v1/audio/speech"]["note"] == "the answer is empty"
        assert found["/metrics"]["good"]

    def test_the_table_has_a_line_a_request_and_the_sum(self, stand_in: str, capsys: Any) -> None:
        StandIn.broken["/v1/audio/speech"] = (502, "The engine failed.")
        assert main(["smoke", stand_in]) == Status.NOT_RIGHT
        shown = capsys.readouterr().out
        assert "/v1/audio/speech" in shown
        assert "502" in shown
        assert "16 requests, 1 failed." in shown

    def test_something_that_is_no_base_url_is_refused(self, capsys: Any) -> None:
        assert main(["smoke", "localhost:8000"]) == Status.WRONG
        assert "is no base URL, such as http://127.0.0.1:8000/v1" in capsys.readouterr().err
