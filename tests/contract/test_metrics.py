"""GET /metrics: everything that the alerts and the dashboard use is there, once there has been such traffic."""

import time

import httpx
import orjson
import pytest

from app.__main__ import main
from cluster.check_metrics import exported, faults
from tests.conftest import Service
from tests.contract.conftest import MESSAGES, MODEL, SPECULATING_MODEL

CHAT = "/v1/chat/completions"
EXPORT_SECONDS = 120  # Ray's metrics reach the page later where a machine is busy


@pytest.fixture
def poor_key(service: Service, capsys: pytest.CaptureFixture[str]) -> str:
    """A key with one request a minute."""
    main(["keys", "create", "--file", str(service.key_file), "--requests-per-minute", "1", "--json"])
    return str(orjson.loads(capsys.readouterr().out)["key"])


def test_alerts_and_dashboard_name_metrics_and_labels_that_the_service_has(
    service: Service, http: httpx.Client, poor_key: str
) -> None:
    # The traffic that makes them appear: streams of text, one of them drafted, an error, a spent budget.
    for model in (MODEL, SPECULATING_MODEL):
        body = {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": 200, "ignore_eos": True}
        streamed = http.post(CHAT, json=body | {"stream": True})  # it repeats itself, and so is drafted by n-grams
        assert streamed.text.endswith("data: [DONE]\n\n")
    assert http.post(CHAT, json={"model": "nobody", "messages": MESSAGES}).status_code == 404
    headers = {"authorization": f"Bearer {poor_key}"}
    statuses: list[int] = []
    deadline = time.monotonic() + 20
    while 429 not in statuses:
        assert time.monotonic() < deadline, statuses
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1}
        statuses.append(http.post(CHAT, json=body, headers=headers).status_code)
        time.sleep(0.2)
    # As the poor key sees it: what the agents of the nodes have of every key, the page has of the caller's own.
    deadline = time.monotonic() + EXPORT_SECONDS
    while reported := faults(exported([http.get("/metrics", headers=headers).text])):
        assert time.monotonic() < deadline, "\n".join(reported)
        time.sleep(0.5)
