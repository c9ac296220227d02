"""docs/adding-a-route.md: the endpoint that it adds, as it stands there, behind a gateway."""

import json
import re
import sys
from types import ModuleType
from typing import Any

import pytest

import contract.protocol
from app.budgets.estimate import Estimator
from app.commands.docs_parameters import page
from app.endpoints import catalog
from app.endpoints.endpoint import Endpoint
from contract.profile import Profile
from contract.project import PROJECT_FOLDER
from contract.protocol import ResponseHead
from tests.answer_schemas import check_answer
from tests.unit.conftest import NoMetrics, assert_error, client_of

PAGE = (PROJECT_FOLDER / "docs" / "adding-a-route.md").read_text()
PATH_CODE, ENDPOINT_CODE, LIST_CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CLASSIFIER = Profile(
    engine="sentence-transformers",
    capabilities=frozenset({"classify"}),
    lacks={"return_text": "the engine returns classes only"},
    limits={"classes": 2},
)
REQUEST = {"model": "alpha", "input": ["A small ship.", "A fruit."]}
ANSWER: dict[str, Any] = {
    "model": "alpha",
    "data": [{"index": 0, "label": "boats", "score": 0.9}, {"index": 1, "label": "food", "score": 0.8}],
    "usage": {"prompt_tokens": 9, "total_tokens": 9},
}


class SeenMetrics(NoMetrics):
    """Remembers the label of each request's route."""

    def __init__(self) -> None:
        self.routes: list[str] = []

    def record(self, finished: Any) -> None:
        self.routes.append(finished.route)


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> tuple[Endpoint, ...]:
    """The list of the page's third step, after its first two."""
    path: dict[str, Any] = {}
    exec(PATH_CODE, path)  # noqa: S102 - the code of our own page
    monkeypatch.setattr(contract.protocol, "CLASSIFY_ROUTE", path["CLASSIFY_ROUTE"], raising=False)
    module = ModuleType("app.endpoints.classify")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(ENDPOINT_CODE, module.__dict__)  # noqa: S102 - the code of our own page
    listed = dict(vars(catalog))
    exec(LIST_CODE, listed)  # noqa: S102 - the code of our own page
    endpoints: tuple[Endpoint, ...] = listed["ENDPOINTS"]
    assert endpoints[:-1] == catalog.ENDPOINTS
    return endpoints


@pytest.fixture
def metrics() -> SeenMetrics:
    return SeenMetrics()


@pytest.fixture
async def client(make_gateway: Any, registry: Any, relay: Any, endpoints: Any, metrics: SeenMetrics) -> Any:
    registry.learn("alpha", CLASSIFIER)
    relay.items = [ResponseHead(200, body=json.dumps(ANSWER).encode(), usage=ANSWER["usage"])]
    async with client_of(make_gateway(endpoints=endpoints, metrics=metrics)) as client:
        yield client


async def test_the_route_answers_and_its_parameters_are_adjusted(client: Any, relay: Any) -> None:
    response = await client.post("/v1/classify", json=REQUEST | {"top_k": 5, "return_text": True, "user": "me"})
    assert response.json() == ANSWER
    assert response.headers["x-param-adjustments"] == (
        'top_k;action=clamp;from=5;to=2, return_text;action=drop;reason="the engine returns classes only"'
    )
    ((model_id, head, body),) = relay.sent
    assert (model_id, head.route) == ("alpha", "/v1/classify")
    assert json.loads(body) == REQUEST | {"top_k": 2}


async def test_it_is_a_route_of_every_pipeline_and_refuses_models_without_its_capability(client: Any) -> None:
    request = {name: value for name, value in REQUEST.items() if name != "model"}
    assert (await client.post("/v1/alpha/classify", json=request)).status_code == 200
    refused = await client.post("/v1/beta/classify", json=request)
    assert_error(refused, 400, "invalid_request_error", "unsupported_capability", "input")
    assert_error(await client.get("/v1/classify"), 405, "invalid_request_error", "method_not_allowed")


async def test_its_path_is_the_label_in_the_metrics(client: Any, metrics: SeenMetrics) -> None:
    await client.post("/v1/classify", json=REQUEST)
    assert metrics.routes == ["/v1/classify"]


async def test_it_is_in_the_openapi_document_and_on_the_page_of_parameters(client: Any, endpoints: Any) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/classify"]["post"]
    assert operation["summary"] == "Create classification"
    assert set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {
        "model", "input", "top_k", "return_text", "user", "strict_params"
    }  # fmt: skip
    check_answer(document, "/v1/classify", "application/json", json.dumps(ANSWER).encode())
    assert "## Create classification: POST /v1/classify" in page(endpoints)


async def test_its_tokens_are_charged(client: Any, endpoints: Any) -> None:
    counted = endpoints[-1].counted
    found = Estimator().estimate("alpha", {"input": ["a" * 40, "b" * 800]}, counted, 0)
    assert found == (210, 0)


def test_it_touches_at_most_six_files() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| `(\w+\.py)`(, new)? \|", PAGE, re.MULTILINE)
    assert 0 < len(set(rows)) == len(rows) <= 6
    for folder, name, new in rows:
        assert (PROJECT_FOLDER / folder).is_dir()
        assert (PROJECT_FOLDER / folder / name).exists() == (not new)
