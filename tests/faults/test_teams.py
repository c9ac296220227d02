"""Teams over three ingress replicas and two budget stores on real Ray: their keys share what the team has."""

import asyncio

import httpx

from tests.faults.conftest import MONTHLY, QUIET, RATED, TEAM_LIMIT, TEAM_TOKENS, Gateways, key
from tests.faults.test_shared_budgets import BODY, Outcome, assert_bounded, exact, load

TOKENS = 2  # of a request to `alpha`
HEARD_SECONDS = 2.5  # in which every replica has reported, and was told


async def test_two_keys_of_a_team_get_together_no_more_than_one_exact_bucket_would_give(gateways: Gateways) -> None:
    await load(gateways.url, key(QUIET), 5, 3)  # first requests open connections
    loads = (load(gateways.url, key(RATED, number), 1.5 * TEAM_LIMIT / 60, 12) for number in range(2))
    one, other = await asyncio.gather(*loads)
    both = Outcome(one.admitted + other.admitted, one.refused + other.refused, one.others + other.others)
    assert both.others == []
    assert one.admitted
    assert other.admitted
    assert both.refused
    most = max(exact(TEAM_LIMIT, [request[moment] for request in both.all()]) for moment in (0, 1))
    assert len(both.admitted) <= most * 1.01 + 1
    assert_bounded(both, TEAM_LIMIT)


async def chat(client: httpx.AsyncClient, number: int) -> httpx.Response:
    headers = {"authorization": f"Bearer {key(MONTHLY, number % 2)}"}
    return await client.post("/v1/chat/completions", json=BODY, headers=headers)


async def test_a_month_is_counted_over_all_replicas_and_outlives_the_stores(gateways: Gateways) -> None:
    async with httpx.AsyncClient(base_url=gateways.url, timeout=60) as client:
        answers = [await chat(client, number) for number in range(TEAM_TOKENS // TOKENS // 2)]
        assert {answer.status_code for answer in answers} == {200}
        assert "x-budget-notice" not in answers[0].headers
        await asyncio.sleep(HEARD_SECONDS)
        noticed = [await chat(client, number) for number in range(9)]
        assert all(answer.headers["x-budget-notice"].startswith("team-monthly-tokens;used=1") for answer in noticed)
        while (answer := await chat(client, 0)).status_code == 200:
            answers.append(answer)
        assert answer.json()["error"]["code"] == "insufficient_quota"
        assert int(answer.headers["retry-after"]) > 0
        await asyncio.sleep(HEARD_SECONDS)
        assert {(await chat(client, number)).status_code for number in range(12)} == {429}
        used = answer.json()["error"]["message"].split("is spent: ")[1].split(" of ")[0]
        assert int(used) >= TEAM_TOKENS
        for store in await gateways.stores():
            store.kill()
        assert {(await chat(client, number)).status_code for number in range(12)} == {429}, "replicas know it"
        await gateways.stores()
        await asyncio.sleep(HEARD_SECONDS)
        assert {(await chat(client, number)).status_code for number in range(12)} == {429}
