"""The keys and the usage of everyone on the page, for who may administer them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from app.keys import LOCAL_KEY, hash_key, public_id
from app.keys.file import KeyFile
from app.usage.ledger import UsageLedger
from tests.admin.test_usage_and_teams import TEAM, Sender
from tests.console.conftest import sign_in
from tests.console.stand_in import config, front, served

ADMIN_KEY = "sk-portico-admin0000000-" + "a" * 43


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": []}')
    return file


@pytest.fixture
def address(key_file: Path) -> Iterator[str]:
    keys = [
        {"id": public_id(ADMIN_KEY), "sha256": hash_key(ADMIN_KEY), "name": "operator", "scopes": ["admin"]},
        {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "name": "local"},
    ]
    changes: dict[str, Any] = {"keys": keys, "key_file": str(key_file), "admin": {"enabled": True}, "teams": [TEAM]}
    snapshot = {"snapshot": str(key_file.with_name("budgets.json"))}
    ledger = UsageLedger(Sender(), config(**changes, budgets=snapshot))  # type: ignore[arg-type]
    with served(front(ledger=ledger, budgets=snapshot, **changes)) as address:
        yield address


async def test_a_key_is_made_shown_once_rotated_and_revoked(page: Page, address: str, key_file: Path) -> None:
    await sign_in(page, address, ADMIN_KEY, "keys")
    await page.get_by_text("Make a key").click()
    await page.get_by_label("Name").fill("web <b>")
    await page.get_by_label("Models").fill("ready-chat")
    await page.get_by_label("Tokens a minute").fill("9000")
    await page.get_by_label("Good for").select_option("90 days")
    await page.get_by_role("button", name="Make key").click()
    secret = await page.locator(".secret").text_content() or ""
    (entry,) = KeyFile(key_file).read()
    assert entry.sha256 == hash_key(secret)
    assert (entry.name, entry.pipelines, entry.budget.tokens_per_minute) == ("web <b>", ["ready-chat"], 9000)
    made = page.get_by_role("row").filter(has_text="web <b>")
    await expect(made).to_contain_text("9,000 tokens")

    await page.get_by_role("button", name=f"Rotate {entry.id}").click()
    await page.get_by_role("button", name="Yes").click()
    await expect(page.locator(".secret")).not_to_have_text(secret)
    await expect(made).to_have_count(2)

    await page.get_by_role("button", name=f"Revoke {entry.id}").click()
    await page.get_by_role("button", name="No").click()
    await expect(made.filter(has_text="revoked")).to_have_count(0)
    await page.get_by_role("button", name=f"Revoke {entry.id}").click()
    await page.get_by_role("button", name="Yes").click()
    await expect(made.filter(has_text="revoked")).to_have_count(1)
    assert secret not in await page.content()


async def test_a_fault_is_said_in_words(page: Page, address: str) -> None:
    await sign_in(page, address, ADMIN_KEY, "keys")
    await page.get_by_text("Make a key").click()
    await page.get_by_label("Models").fill("nothing")
    await page.get_by_role("button", name="Make key").click()
    await expect(page.get_by_role("alert")).to_contain_text("There is no model `nothing`.")


async def test_usage_is_shown_by_what_is_chosen_and_teams_with_what_they_may(page: Page, address: str) -> None:
    await sign_in(page, address, ADMIN_KEY, "usage")
    await page.get_by_label("For each").select_option("team")
    await page.get_by_label("Over time").select_option("each day")
    row = page.get_by_role("row").filter(has_text="2027-01-31")
    for text in ("search", "30", "1.25"):
        await expect(row).to_contain_text(text)
    await expect(page.get_by_role("article", name="Team search")).to_contain_text("1,234 of 2,000 tokens")


async def test_who_may_not_administer_keys_is_not_offered_them(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "keys")
    await expect(page.get_by_role("link", name="Usage", exact=True)).to_be_hidden()
    await expect(page.get_by_role("link", name="Keys", exact=True)).to_be_hidden()
    await expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
