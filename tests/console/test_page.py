"""The page in a browser, over models in every state: the key, the views, keyboards, small screens."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from app.keys import LOCAL_KEY
from tests.console.conftest import sign_in
from tests.console.stand_in import ERROR, SCOPED_KEY, front, served

VIEWS = (
    "chat", "responses", "completions", "embeddings", "rerank", "images", "transcriptions", "speech", "models", "key",
)  # fmt: skip
CHECKS = (Path(__file__).parent / "page_checks.js").read_text()


class TestKey:
    async def test_a_wrong_key_is_refused_in_words_and_kept_nowhere(self, page: Page, stand_in: str) -> None:
        await page.goto(stand_in)
        await page.get_by_label("Key", exact=True).fill(LOCAL_KEY[:-1] + "1")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("alert")).to_contain_text("This API key is not valid here.")
        await expect(page.get_by_role("alert")).to_contain_text("invalid_api_key")
        await expect(page.get_by_role("link", name="Models")).to_be_hidden()
        assert await page.evaluate("sessionStorage.length") == 0

    async def test_a_key_is_kept_by_this_tab_only_until_it_is_forgotten(self, page: Page, stand_in: str) -> None:
        await sign_in(page, stand_in, LOCAL_KEY)
        assert LOCAL_KEY in (await page.evaluate("Object.values(sessionStorage)"))
        assert await page.evaluate("localStorage.length + document.cookie.length") == 0
        await page.reload()
        await page.get_by_role("link", name="My key").wait_for()
        other = await page.context.new_page()
        await other.goto(stand_in)
        await expect(other.get_by_role("heading", name="Your API key")).to_be_visible()
        await other.close()
        await page.get_by_role("button", name="Forget key").click()
        await expect(page.get_by_role("heading", name="Your API key")).to_be_visible()
        assert await page.evaluate("sessionStorage.length") == 0

    async def test_a_key_that_is_no_longer_good_is_asked_for_again(self, page: Page, stand_in: str) -> None:
        await page.goto(stand_in)
        await page.evaluate(f"sessionStorage.setItem('portico-key', '{LOCAL_KEY[:-1]}1')")
        await page.reload()
        await expect(page.get_by_role("heading", name="Your API key")).to_be_visible()
        await expect(page.get_by_role("alert")).to_contain_text("not valid here")


class TestModels:
    async def test_a_failed_model_says_why(self, page: Page, stand_in: str) -> None:
        await sign_in(page, stand_in, LOCAL_KEY, "models")
        card = page.get_by_role("article", name="failed-chat")
        await expect(card.locator(".state")).to_have_text("failed")
        await expect(card).to_contain_text(ERROR)

    async def test_a_model_that_starts_says_its_stage_and_the_seconds(self, page: Page, stand_in: str) -> None:
        await sign_in(page, stand_in, LOCAL_KEY, "models")
        await expect(page.get_by_role("article", name="starting-chat")).to_contain_text(
            "It loads the model, for 42 s so far."
        )
        await expect(page.get_by_role("article", name="starting-chat").get_by_text("so far")).to_have_count(1)
        await expect(page.get_by_role("article", name="queued-chat")).to_contain_text("It waits for room, for 2 min")
        await expect(page.get_by_role("article", name="asleep-chat").locator(".state")).to_have_text("asleep")

    async def test_a_ready_model_has_its_numbers_its_abilities_and_its_charts(self, page: Page, stand_in: str) -> None:
        await sign_in(page, stand_in, LOCAL_KEY, "models")
        card = page.get_by_role("article", name="ready-chat")
        for text in ("1 of 1", "32,768", "Drafts accepted, ngram", "73 %"):
            await expect(card).to_contain_text(text)
        await expect(card.get_by_role("list", name="Verified abilities").get_by_role("listitem")).to_have_text(
            ["chat", "tools"]
        )
        await expect(card.get_by_role("img", name="Queue")).to_be_visible()
        # The first look has no rate yet; the next one, a few seconds later, does.
        await expect(card.locator("output").nth(1)).not_to_have_text("…")
        assert await page.locator("article").count() == 5


async def test_a_key_sees_its_scope_its_limits_and_its_usage(page: Page, stand_in: str) -> None:
    await sign_in(page, stand_in, SCOPED_KEY, "key")
    main = page.get_by_role("main")
    await expect(main.get_by_role("list", name="Models")).to_have_text("failed-chat")
    for text in ("6 of 6 requests", "1,000 of 1,000 tokens", "4 requests at a time", "1,234", "January 1, 2100"):
        await expect(main).to_contain_text(text)
    await page.goto(f"{stand_in}/#/models")
    await expect(page.get_by_role("article")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_every_view_fits_the_screen_names_its_controls_and_can_be_read(
    page: Page, stand_in: str, scheme: str, width: int
) -> None:
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await page.set_viewport_size({"width": width, "height": 800})
    await sign_in(page, stand_in, LOCAL_KEY)
    for view in VIEWS:
        await page.goto(f"{stand_in}/#/{view}")
        await page.locator(f".play, article, [aria-current][href='#/{view}']").first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert await page.evaluate(CHECKS) == {"nameless": [], "pale": []}, view


async def test_everything_can_be_reached_with_the_keyboard(page: Page, stand_in: str) -> None:
    await page.goto(stand_in)
    await page.keyboard.type(LOCAL_KEY)  # the field has the focus
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="My key").wait_for()
    await page.get_by_role("link", name="Portico").focus()
    reached = []
    for _ in range(17):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))
    for name in ("Models", "Forget key", "Chat", "Text to speech", "Message", "Send"):
        assert name in reached
    await page.get_by_role("link", name="Models").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()


async def test_what_the_microphone_hears_becomes_a_recording(page: Page, stand_in: str) -> None:
    await sign_in(page, stand_in, LOCAL_KEY, "transcriptions")
    await page.get_by_role("button", name="Record").click()
    await page.get_by_role("button", name="Stop 0:01").click()
    await expect(page.get_by_role("group", name="Waveform")).to_be_visible()
    await expect(page.get_by_label("The recording")).to_be_visible()
    await expect(page.get_by_role("button", name="Record")).to_be_visible()


async def test_a_page_of_another_origin_may_call_where_it_is_allowed_and_only_there(page: Page) -> None:
    async def site(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"a page"})

    call = """([url, key]) => fetch(`${url}/console/data/key`, {
        headers: { authorization: `Bearer ${key}`, "x-stainless-lang": "js" },
    }).then((response) => response.headers.get("x-request-id"), (error) => error.name)"""
    with (
        served(site) as origin,
        served(front(cors={"allowed_origins": [origin]})) as allowed,
        served(front()) as other,
    ):
        await page.goto(origin)
        assert len(await page.evaluate(call, [allowed, LOCAL_KEY])) == 36
        assert await page.evaluate(call, [other, LOCAL_KEY]) == "TypeError"
