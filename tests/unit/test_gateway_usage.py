"""What the gateway hands to the usage ledger, and GET /v1/usage."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.config.prices import Quantities
from app.config.service import parse_config
from app.endpoints.usage import MOST_RESULTS
from app.gateway.application import Gateway
from app.usage.ledger import UsageLedger
from app.usage.link import LedgerBusyError, LedgerUnreachableError
from app.usage.question import Question, Sum
from app.usage.row import UsageRow
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import SCOPED_KEY, StandInRelay, assert_error, chat, client_of, config_args

KEY_ID = "local0000000"
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 4}}
USED = Quantities(9, 4, 2)
SUM = Sum({}, 3, Quantities(30, 12, 6, 1, 2.345, 7), 1_250_000)


def used(row: UsageRow) -> Quantities:
    return Quantities(*(getattr(row, name) for name in Quantities._fields))


class Sender:
    """Keeps rows, and answers what a test gives it."""

    def __init__(self) -> None:
        self.rows: list[UsageRow] = []
        self.asked: list[Question] = []
        self.answer: list[Sum] | Exception = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def add(self, row: UsageRow) -> None:
        self.rows.append(row)

    async def ask(self, question: Question) -> list[Sum]:
        self.asked.append(question)
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], sender: Sender) -> Gateway:
    args = config_args(usage={"currency": "eur"})
    args["models"][0]["prices"] = {"million_input_tokens": 2, "million_cached_tokens": 1, "million_output_tokens": 8}
    config = parse_config(args)
    return make_gateway(config, ledger=UsageLedger(sender, config))  # type: ignore[arg-type]


@pytest.fixture
def client(gateway: Gateway) -> httpx.AsyncClient:
    return client_of(gateway)


class TestRows:
    async def test_an_answered_request_is_a_row(
        self, client: httpx.AsyncClient, relay: StandInRelay, sender: Sender
    ) -> None:
        relay.items = [ResponseHead(200, body=b"{}", usage=USAGE)]
        response = await client.post("/v1/chat/completions", json=chat(top_p=1.5))
        (row,) = sender.rows
        assert abs(row.time - datetime.now(UTC).timestamp()) < 60
        assert row._replace(time=0) == UsageRow(
            time=0,
            request_id=response.headers["x-request-id"],
            key_id=KEY_ID,
            team_id=None,
            model="alpha",
            route="/v1/chat/completions",
            status=200,
            reason="ok",
            **USED._asdict(),
            is_estimate=False,
            cost_millionths=5 * 2 + 4 * 1 + 2 * 8,
            adjustments="top_p;action=clamp;from=1.5;to=1.0",
        )

    async def test_a_stream_is_one_with_what_its_tail_says(
        self, client: httpx.AsyncClient, relay: StandInRelay, sender: Sender
    ) -> None:
        relay.items = [ResponseHead(200, EVENT_STREAM), b"data: {}\n\n", ResponseTail(USAGE)]
        await client.post("/v1/chat/completions", json=chat(stream=True))
        assert [used(one) for one in sender.rows] == [USED]

    async def test_a_stream_that_broke_is_one_with_its_prompt_and_what_was_seen_though_the_key_has_no_token_budget(
        self, client: httpx.AsyncClient, relay: StandInRelay, sender: Sender
    ) -> None:
        relay.items = [ResponseHead(200, EVENT_STREAM), b"data: {}\n\n" * 3]
        await client.post("/v1/chat/completions", json=chat(stream=True))
        (row,) = sender.rows
        assert (row.status, row.reason, row.is_estimate, row.output_tokens) == (200, "upstream_error", True, 3)
        assert row.input_tokens > 0
        assert row.cost_millionths == 2 * row.input_tokens + 8 * 3

    async def test_one_that_failed_after_its_admission_is_one_that_used_nothing(
        self, client: httpx.AsyncClient, sender: Sender
    ) -> None:
        response = await client.post("/v1/chat/completions", json=chat(temperature="hot"))
        assert response.status_code == 400
        assert [(one.status, one.reason, used(one)) for one in sender.rows] == [(400, "invalid_type", Quantities())]

    async def test_what_was_not_admitted_is_none(self, client: httpx.AsyncClient, sender: Sender) -> None:
        """Else whoever sends what is refused would fill the database."""
        await client.post("/v1/chat/completions", json=chat(), headers={"authorization": "Bearer wrong"})
        await client.post("/v1/chat/completions", json=chat(model="nobody"))
        await client.get("/v1/models")
        await client.get("/health")
        await client.get("/v1/usage")
        assert sender.rows == []

    async def test_a_request_whose_budget_is_spent_is_none(
        self, make_gateway: Callable[..., Gateway], sender: Sender
    ) -> None:
        args = config_args()
        args["keys"][0]["budget"] = {"requests_per_minute": 1}
        config = parse_config(args)
        client = client_of(make_gateway(config, ledger=UsageLedger(sender, config)))  # type: ignore[arg-type]
        statuses = [(await client.post("/v1/chat/completions", json=chat())).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert [one.status for one in sender.rows] == [200]


class TestUsage:
    async def test_answers_for_the_calling_key_with_one_bucket(self, client: httpx.AsyncClient, sender: Sender) -> None:
        sender.answer = [SUM]
        response = await client.get("/v1/usage", params={"since": "2027-01-01", "until": "2027-01-02T12:00Z"})
        assert response.json() == {
            "object": "page",
            "data": [
                {
                    "object": "bucket",
                    "start_time": 1798761600,
                    "end_time": 1798761600 + 36 * 3600,
                    "results": [
                        {
                            "object": "usage.result",
                            "num_model_requests": 3,
                            "input_tokens": 30,
                            "input_cached_tokens": 12,
                            "output_tokens": 6,
                            "images": 1,
                            "seconds": 2.35,
                            "characters": 7,
                            "amount": {"value": 1.25, "currency": "eur"},
                        }
                    ],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
        since = datetime(2027, 1, 1, tzinfo=UTC)
        until = since + timedelta(hours=36)
        assert sender.asked == [Question((), since, until, {"key": KEY_ID}, MOST_RESULTS)]

    async def test_by_day_is_a_bucket_a_day_and_in_it_what_else_is_grouped_by(
        self, client: httpx.AsyncClient, sender: Sender
    ) -> None:
        days = [("2027-01-31", "alpha", 200), ("2027-01-31", "beta", None), ("2027-02-01", "alpha", 200)]
        sender.answer = [
            SUM._replace(group={"day": day, "model": model, "status": status}) for day, model, status in days
        ]
        page = (await client.get("/v1/usage", params={"by": "model,day,status"})).json()
        assert [(one["end_time"] - one["start_time"], len(one["results"])) for one in page["data"]] == [
            (86400, 2),
            (86400, 1),
        ]
        assert [(one["model"], one["status"]) for one in page["data"][0]["results"]] == [("alpha", 200), ("beta", None)]
        assert sender.asked[0].by == ("day", "model", "status")

    async def test_by_month_is_a_bucket_a_month(self, client: httpx.AsyncClient, sender: Sender) -> None:
        sender.answer = [SUM._replace(group={"month": month}) for month in ("2027-02", "2027-12")]
        page = (await client.get("/v1/usage?by=month")).json()
        assert [(one["end_time"] - one["start_time"]) // 86400 for one in page["data"]] == [28, 31]

    async def test_left_out_it_is_the_last_thirty_days(self, client: httpx.AsyncClient, sender: Sender) -> None:
        await client.get("/v1/usage")
        (question,) = sender.asked
        assert timedelta(days=30) <= question.until - question.since < timedelta(days=31)
        assert (question.since.hour, question.since.minute) == (0, 0)

    async def test_under_a_pipeline_it_is_of_that_model(self, gateway: Gateway, sender: Sender) -> None:
        client = client_of(gateway, SCOPED_KEY)
        assert (await client.get("/v1/beta/usage")).status_code == 200
        assert sender.asked[0].where == {"key": "scoped000000", "model": "beta"}
        refused = await client.get("/v1/alpha/usage")
        assert_error(refused, 403, "permission_error", "model_not_allowed")

    @pytest.mark.parametrize(
        ("query", "param", "message"),
        [
            ("by=key", "by", "`by`: 'key' is nothing to group by; legal are day, month, model, route, status."),
            ("by=day,month", "by", "`by`: day and month exclude each other; name one of them."),
            ("by=day&by=day", "by", "`by`: it names one twice; each groups once."),
            ("since=yesterday", "since", "`since`: 'yesterday' is no moment; legal are 2027-01-31, "),
            ("until=99999999999999", "until", "`until`: '99999999999999' is no moment; legal are"),
            ("since=2027-01-02&until=2027-01-01", "since", "`since`: `since` is not before `until`"),
        ],
    )
    async def test_what_is_not_legal_is_refused_by_name(
        self, client: httpx.AsyncClient, query: str, param: str, message: str
    ) -> None:
        response = await client.get(f"/v1/usage?{query}")
        assert_error(response, 400, "invalid_request_error", "invalid_value", param)
        assert response.json()["error"]["message"].startswith(message)

    async def test_an_unknown_parameter_is_refused(self, client: httpx.AsyncClient) -> None:
        """Else who misspells `since` would get the sums of another time."""
        response = await client.get("/v1/usage?start=2027-01-01")
        assert_error(response, 400, "invalid_request_error", "unsupported_parameter", "start")

    async def test_too_many_results_are_refused(self, client: httpx.AsyncClient, sender: Sender) -> None:
        sender.answer = [SUM] * (MOST_RESULTS + 1)
        response = await client.get("/v1/usage?by=model")
        assert_error(response, 400, "invalid_request_error", "too_large", "by")

    @pytest.mark.parametrize("error", [LedgerUnreachableError(), LedgerBusyError()], ids=repr)
    async def test_a_ledger_that_is_away_or_busy_is_a_503(
        self, client: httpx.AsyncClient, sender: Sender, error: Exception
    ) -> None:
        sender.answer = error
        assert_error(await client.get("/v1/usage"), 503, "server_error", "overloaded")

    async def test_a_key_asks_one_question_at_a_time(self, client: httpx.AsyncClient, sender: Sender) -> None:
        sender.may_answer.clear()
        first = asyncio.create_task(client.get("/v1/usage"))
        while not sender.asked:
            await asyncio.sleep(0)
        assert_error(await client.get("/v1/usage"), 429, "rate_limit_error", "rate_limit_exceeded")
        sender.may_answer.set()
        assert (await first).status_code == 200
        assert (await client.get("/v1/usage")).status_code == 200

    async def test_a_client_that_leaves_may_not_ask_again_before_its_question_has_ended(
        self, client: httpx.AsyncClient, sender: Sender
    ) -> None:
        sender.may_answer.clear()
        first = asyncio.create_task(client.get("/v1/usage"))
        while not sender.asked:
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert_error(await client.get("/v1/usage"), 429, "rate_limit_error", "rate_limit_exceeded")
        sender.may_answer.set()
        await asyncio.sleep(0.01)
        assert (await client.get("/v1/usage")).status_code == 200

    async def test_costs_no_budget(self, client: httpx.AsyncClient) -> None:
        left = [(await client.get("/v1/usage")).headers["x-ratelimit-remaining"] for _ in range(3)]
        assert len(set(left)) == 1

    async def test_without_a_ledger_there_is_no_such_route(self, make_gateway: Callable[..., Gateway]) -> None:
        client = client_of(make_gateway())
        response = await client.get("/v1/usage")
        assert_error(response, 404, "not_found_error", "unknown_url")
        assert "GET /v1/usage is disabled here" in response.json()["error"]["message"]
        assert "/v1/usage" not in (await client.get("/openapi.json")).json()["paths"]

    async def test_an_operator_can_take_it_away(self, make_gateway: Callable[..., Gateway], sender: Sender) -> None:
        config = parse_config(config_args(routes={"disabled": ["/v1/usage"]}))
        client = client_of(make_gateway(config, ledger=UsageLedger(sender, config)))  # type: ignore[arg-type]
        assert (await client.get("/v1/usage")).status_code == 404
        await client.post("/v1/chat/completions", json=chat())
        assert len(sender.rows) == 1

    async def test_is_in_the_openapi_document(self, client: httpx.AsyncClient) -> None:
        document: Any = (await client.get("/openapi.json")).json()
        operation = document["paths"]["/v1/usage"]["get"]
        assert {one["name"] for one in operation["parameters"]} == {"by", "since", "until"}
        assert "UsagePage" in document["components"]["schemas"]
