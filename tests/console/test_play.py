"""Play, in a browser, on the running service: a person tries each kind of model."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.console.conftest import choose, sign_in
from tests.contract.conftest import (
    EMBEDDING_MODEL,
    FLUX_MODEL,
    IMAGE_MODEL,
    MODEL,
    RERANKING_MODEL,
    SPEECH_MODEL,
    TRANSCRIPTION_MODEL,
    VISION_MODEL,
)
from tests.recordings import encoded, voice
from tests.sample_images import PNG

DRAWN = """(() => {
    const canvas = document.querySelector(".wave canvas");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean);
})()"""


@pytest.fixture
def address(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


async def use(page: Page, model: str) -> None:
    await page.get_by_role("combobox", name="Model").select_option(model)


async def until(page: Page, holds: str) -> None:
    """Wait until an expression holds. Playwright's own way is `eval`, which the page forbids."""
    deadline = time.monotonic() + 30
    while not await page.evaluate(holds):
        assert time.monotonic() < deadline, holds
        await asyncio.sleep(0.1)


async def say(page: Page, text: str, turn: int = 0) -> None:
    """Say something, and wait for the whole answer to it."""
    await page.get_by_label("Message").fill(text)
    await page.get_by_label("Message").press("Enter")
    await expect(page.locator(".turn.assistant")).to_have_count(turn + 1)
    await expect(page.locator(".turn.assistant[aria-busy]")).to_have_count(0)
    await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("view", ["chat", "responses"])
async def test_a_whole_conversation(page: Page, address: str, view: str) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await sign_in(page, address, LOCAL_KEY, view)
    await use(page, MODEL)
    await page.get_by_label("System prompt").fill("You answer in one word.")
    await page.get_by_text("Sampling").click()
    await page.get_by_label("Top p").fill("1.5")
    await page.get_by_label("Longest answer, in tokens").fill("12")
    for turn, text in enumerate(("Hello.", "And then?")):
        await say(page, text, turn)
    answer = page.locator(".turn.assistant").last
    assert await answer.locator(".text").text_content()
    for fact in (r"Gateway[\d.]+ ms", r"First token[\d.]+ m?s", r"Tokens\d+", r"Budget left[\d,]+ requests"):
        await expect(answer.locator("dl")).to_contain_text(re.compile(fact))
    await expect(answer.locator("dl code")).to_have_text(re.compile("^[0-9a-f-]{36}$"))
    await expect(answer.locator(".changes")).to_have_text("top_p: 1.5 became 1.0")
    await answer.get_by_role("button", name="Python").click()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == await answer.locator("pre").text_content()
    compile(copied, "copied", "exec")
    assert f'base_url="{address}/v1"' in copied
    assert "And then?" in copied
    assert LOCAL_KEY not in copied
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator(".turn")).to_have_count(0)


async def test_an_image_goes_in(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "chat")
    await use(page, MODEL)
    await expect(page.get_by_role("button", name="Attach image")).to_be_hidden()
    await use(page, VISION_MODEL)
    await expect(page.get_by_role("button", name="Attach image")).to_be_visible()
    await page.locator("input[type=file]").first.set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": PNG}
    )
    await expect(page.get_by_role("button", name="Remove image 1")).to_be_visible()
    await page.get_by_text("Sampling").click()
    await page.get_by_label("Longest answer, in tokens").fill("4")
    await say(page, "What is this?")
    await expect(page.get_by_role("img", name="attached image")).to_be_visible()


async def test_texts_are_compared(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "embeddings")
    await use(page, EMBEDDING_MODEL)
    await page.get_by_label("Texts, one a line").fill("a cat\na kitten\na cat")
    await page.get_by_role("button", name="Compare").click()
    rows = page.get_by_role("region", name="Heat map").locator("tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.first.locator("td").last).to_have_text("1.00")  # the same text again


async def test_documents_are_ranked(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "rerank")
    await use(page, RERANKING_MODEL)
    await page.get_by_label("Documents, one a line").fill("a boat\na cat\na house")
    await page.get_by_role("button", name="Rerank").click()
    ranking = page.get_by_role("list", name="Documents, the best first")
    await expect(ranking.get_by_role("listitem")).to_have_count(3)
    shown = [float(one) for one in await ranking.locator(".score").all_text_contents()]
    assert shown == sorted(shown, reverse=True)


async def test_a_prompt_is_completed(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "completions")
    await use(page, MODEL)
    await page.get_by_label("Prompt").fill("Once upon a time")
    await page.get_by_role("button", name="Complete").click()
    await expect(page.locator(".result dl")).to_contain_text(re.compile(r"First token[\d.]+ m?s"))
    await expect(page.locator(".result dl")).to_contain_text(re.compile(r"Tokens\d+"))
    assert len(await page.locator(".completed").inner_text()) > len("Once upon a time")


@pytest.mark.parametrize("view", ["chat", "responses"])
async def test_the_tokens_of_a_conversation_are_counted_before_it_is_sent(page: Page, address: str, view: str) -> None:
    await sign_in(page, address, LOCAL_KEY, view)
    await use(page, MODEL)
    await page.get_by_label("System prompt").fill("You answer in one word.")
    await page.get_by_label("Message").fill("Hello.")
    await page.get_by_role("button", name="Count tokens").click()
    await expect(page.get_by_label("Tokens", exact=True)).to_have_text(re.compile(r"^\d+ tokens of 2,048$"))


async def test_an_image_is_changed_where_the_mask_is_painted(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "images")
    await use(page, IMAGE_MODEL)
    await page.get_by_role("radio", name="Change an image").check()
    await choose(page, "boat.png")
    await page.get_by_label("Prompt").fill("a small boat")
    await page.get_by_role("application", name="Mask").press("Space")
    await page.get_by_role("button", name="Draw").click()
    await expect(page.locator(".result dl")).to_contain_text("Total")
    await expect(page.locator(".film img")).to_have_count(3)
    await expect(page.locator(".changes li")).to_have_count(0)


async def test_variations_are_made_of_an_image(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "images")
    await use(page, IMAGE_MODEL)
    await page.get_by_role("radio", name="Vary an image").check()
    await choose(page, "boat.png")
    await page.get_by_label("How many").fill("2")
    await page.get_by_role("button", name="Draw").click()
    await expect(page.get_by_role("img", name="Variation")).to_have_count(2)
    assert await page.get_by_role("img", name="Variation 2").evaluate("image => image.naturalWidth") >= 64


async def test_an_image_comes_with_its_partial_images(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "images")
    await use(page, FLUX_MODEL)
    await page.get_by_label("Prompt").fill("a small boat")
    await page.get_by_label("Partial images").fill("2")
    await page.get_by_role("button", name="Draw").click()
    await expect(page.locator(".film img")).to_have_count(2)
    picture = page.get_by_role("img", name="a small boat")
    await expect(page.locator(".result dl")).to_contain_text("Total")
    assert await picture.evaluate("image => image.naturalWidth") == 64
    await expect(page.locator(".result dl")).to_contain_text(re.compile(r"First image[\d.]+ m?s"))


async def test_a_recording_becomes_text_with_its_segments_on_the_waveform(
    page: Page, address: str, tmp_path: Path
) -> None:
    recording = tmp_path / "voice.wav"
    recording.write_bytes(encoded(voice(2.0), "wav"))
    await sign_in(page, address, LOCAL_KEY, "transcriptions")
    await use(page, TRANSCRIPTION_MODEL)
    await page.get_by_label("Audio file").set_input_files(recording)
    await expect(page.get_by_role("group", name="Waveform")).to_be_visible()
    await until(page, DRAWN)
    await page.get_by_role("button", name="Write down").click()
    await expect(page.locator(".result .text")).not_to_be_empty()
    await expect(page.locator(".result dl")).to_contain_text(re.compile(r"Usage[\d.]+ s of audio"))
    segments = page.get_by_role("group", name="Waveform").get_by_role("button")
    await expect(segments.first).to_have_attribute("aria-label", re.compile("^Play from 0:0"))
    await page.locator(".result").get_by_role("button", name="curl").click()
    await expect(page.locator(".result pre")).to_contain_text("-F file=@'voice.wav'")
    await page.get_by_role("radio", name="Translated into English").check()
    await page.get_by_role("button", name="Write down").click()
    await expect(page.locator(".result")).to_have_count(2)
    await expect(page.locator(".result dl").first).to_contain_text("Languageenglish")


async def test_text_becomes_speech_that_plays(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "speech")
    await use(page, SPEECH_MODEL)
    await page.get_by_label("Format").select_option("wav")
    await page.get_by_role("button", name="Speak").click()
    player = page.get_by_label("The spoken text")
    await expect(player).to_be_visible()
    await until(page, "document.querySelector('.result audio').duration > 0.5")
    await expect(page.locator(".result dl")).to_contain_text(re.compile(r"Usage\d+ characters"))


async def test_what_the_service_refuses_is_shown_with_its_code_and_request(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "images")
    await use(page, FLUX_MODEL)
    await page.get_by_label("Prompt").fill("a small boat")
    await page.get_by_label("Size").fill("large")
    await page.get_by_role("button", name="Draw").click()
    await expect(page.get_by_role("alert")).to_contain_text(re.compile(r"invalid_value · request [0-9a-f-]{36}"))


async def test_the_models_of_the_service_are_ready_with_what_they_can_do(page: Page, address: str) -> None:
    await sign_in(page, address, LOCAL_KEY, "models")
    card = page.get_by_role("article", name=MODEL, exact=True)
    await expect(card.locator(".state")).to_have_text("ready")
    await expect(card).to_contain_text("2,048")
    await expect(page.get_by_role("article", name="pocket-fast").locator("dl")).to_contain_text("Drafts accepted")
    await page.goto(f"{address}/#/key")
    await expect(page.get_by_role("main")).to_contain_text("Answer tokens")


async def test_the_reference_describes_the_routes_and_calls_one_with_the_key_of_the_tab(
    page: Page, address: str
) -> None:
    await sign_in(page, address, LOCAL_KEY)
    await page.get_by_role("link", name="Reference").click()
    await expect(page.locator(".opblock-summary-path", has_text="chat/completions")).to_be_visible()
    route = page.locator(".opblock", has=page.locator(".opblock-summary", has_text="List models"))
    await route.locator(".opblock-summary-control").click()
    await route.get_by_role("button", name="Try it out").click()
    await route.get_by_role("button", name="Execute").click()
    await expect(route.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    await expect(route.locator(".live-responses-table")).to_contain_text(MODEL)
