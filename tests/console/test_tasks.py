"""The tasks beside conversations in a browser, with a gateway whose answers are written here: what each one sends."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image
from playwright.async_api import Page, expect

from app.keys import LOCAL_KEY
from contract import sse
from contract.protocol import (
    COMPLETIONS_ROUTE,
    EDITS_ROUTE,
    IMAGES_ROUTE,
    RERANK_ROUTE,
    TOKENIZE_ROUTE,
    TRANSCRIPTIONS_ROUTE,
    TRANSLATIONS_ROUTE,
    VARIATIONS_ROUTE,
)
from tests.console.conftest import choose, sign_in
from tests.console.scripted import B64, DONE, HANGS, USAGE, ScriptedGateway, delta, image_stream, text
from tests.console.stand_in import front, served
from tests.console.test_page import CHECKS
from tests.recordings import encoded, voice
from tests.sample_images import PNG

TABS = ("Chat", "Responses", "Completion", "Embeddings", "Rerank", "Image", "Speech to text", "Text to speech")
SIDES = (64, 48)  # of PNG


async def tabs(page: Page) -> list[str]:
    await page.get_by_role("navigation", name="What to try").wait_for()
    return await page.get_by_role("navigation", name="What to try").get_by_role("link").all_text_contents()


def alpha(mask: bytes) -> Image.Image:
    """How opaque each pixel of a mask is."""
    return Image.open(io.BytesIO(mask)).getchannel("A")


class TestDisabledRoutes:
    """An operator's `routes.disabled`: what has no route is not offered."""

    async def test_a_task_whose_route_is_disabled_has_no_tab_and_no_view(self, page: Page) -> None:
        with served(front(routes={"disabled": [RERANK_ROUTE, COMPLETIONS_ROUTE]})) as address:
            await sign_in(page, address, LOCAL_KEY, "rerank")
            await expect(page.get_by_label("Message")).to_be_visible()
            assert await tabs(page) == [one for one in TABS if one not in ("Completion", "Rerank")]

    async def test_a_task_stays_while_one_of_its_routes_is_there(self, page: Page) -> None:
        with served(front(able=True, routes={"disabled": [IMAGES_ROUTE, VARIATIONS_ROUTE]})) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await expect(page.get_by_role("group", name="Image", exact=True)).to_be_visible()
            await expect(page.get_by_role("radio")).to_have_count(0)
            assert await tabs(page) == list(TABS)

    async def test_tokens_are_not_counted_where_the_route_is_disabled(self, page: Page) -> None:
        with served(front(able=True, routes={"disabled": [TOKENIZE_ROUTE]})) as address:
            await sign_in(page, address, LOCAL_KEY, "chat")
            await expect(page.get_by_role("button", name="Send")).to_be_visible()
            await expect(page.get_by_role("button", name="Count tokens")).to_be_hidden()


async def test_documents_are_ranked_as_bars_with_the_best_first(page: Page) -> None:
    results = [{"index": 2, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.25}]
    gateway = ScriptedGateway([orjson.dumps({"results": results, "usage": USAGE})])
    with served(front(gateway=gateway, able=True)) as address:
        await sign_in(page, address, LOCAL_KEY, "rerank")
        await page.get_by_label("Query").fill("What is a boat?")
        await page.get_by_label("Documents, one a line").fill("A stone.\n\n  A house. \nA small ship.")
        await page.get_by_label("How many to return").fill("2")
        await page.get_by_role("button", name="Rerank").click()
        rows = page.get_by_role("list", name="Documents, the best first").get_by_role("listitem")
        await expect(rows).to_have_text(["0.750 A small ship. document 3", "0.250 A stone. document 1"])
        widths = "bars => bars.map(bar => bar.style.width)"
        assert await rows.locator(".fill").evaluate_all(widths) == ["75%", "25%"]
        await page.locator(".result").get_by_role("button", name="JavaScript").click()
        await expect(page.locator(".result pre")).to_contain_text('client.post("/rerank", { body })')
    assert gateway.paths == [RERANK_ROUTE]
    assert gateway.sent == [
        {
            "model": "able-reranker", "query": "What is a boat?", "top_n": 2, "return_documents": False,
            "documents": ["A stone.", "A house.", "A small ship."],
        }
    ]  # fmt: skip


class TestCompletions:
    async def test_a_prompt_is_continued_as_the_text_comes(self, page: Page) -> None:
        usage = sse.event({"choices": [], "usage": {"completion_tokens": 3}})
        gateway = ScriptedGateway([text(" there"), text(" was", "length"), usage, DONE])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "completions")
            await page.get_by_label("Prompt").fill("Once")
            await page.get_by_role("button", name="Complete").click()
            await expect(page.locator(".completed")).to_have_text("Once there was")
            await expect(page.locator(".result dl")).to_contain_text("Tokens3")
            await expect(page.locator(".result dl")).to_contain_text("at the limit of tokens")
        assert gateway.paths == [COMPLETIONS_ROUTE]
        assert gateway.sent == [
            {
                "model": "able-chat", "prompt": "Once", "max_tokens": 64, "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]  # fmt: skip

    async def test_a_model_that_fills_in_gets_the_text_after_it(self, page: Page) -> None:
        gateway = ScriptedGateway([text(" + ", "stop"), DONE])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "completions")
            await page.get_by_label("Prompt").fill("1")
            await page.get_by_label("Text after it").fill("1 = 2")
            await page.get_by_role("button", name="Complete").click()
            await expect(page.locator(".completed")).to_have_text("1 + 1 = 2")
        assert gateway.sent[0]["suffix"] == "1 = 2"

    async def test_models_without_it_are_not_offered(self, page: Page, stand_in: str) -> None:
        await sign_in(page, stand_in, LOCAL_KEY, "completions")
        await expect(page.get_by_role("combobox", name="Model")).to_have_text("no model for this")
        await expect(page.get_by_label("Text after it")).to_be_hidden()

    async def test_what_is_stopped_keeps_its_text_and_its_facts(self, page: Page) -> None:
        gateway = ScriptedGateway([text(" there"), HANGS])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "completions")
            await page.get_by_role("button", name="Complete").click()
            await expect(page.locator(".completed")).to_contain_text(" there")
            await page.get_by_role("button", name="Stop").click()
            await expect(page.locator(".result dl")).to_contain_text("you stopped it")
        assert gateway.was_left


class TestTranslations:
    @pytest.mark.parametrize(
        ("way", "path"),
        [("As it is spoken", TRANSCRIPTIONS_ROUTE), ("Translated into English", TRANSLATIONS_ROUTE)],
    )
    async def test_a_recording_is_written_down_in_the_language_that_is_chosen(
        self, page: Page, tmp_path: Path, way: str, path: str
    ) -> None:
        (tmp_path / "voice.wav").write_bytes(encoded(voice(0.2), "wav"))
        answer = {
            "text": "Good morning.",
            "duration": 1.0,
            "language": "english",
            "segments": [],
            "usage": {"seconds": 1},
        }
        gateway = ScriptedGateway([orjson.dumps(answer)])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "transcriptions")
            await page.get_by_label("Audio file").set_input_files(tmp_path / "voice.wav")
            await page.get_by_role("radio", name=way).check()
            await page.get_by_role("button", name="Write down").click()
            await expect(page.locator(".result .text")).to_have_text("Good morning.")
        assert gateway.paths == [path]
        assert gateway.sent[0].pop("file") == (tmp_path / "voice.wav").read_bytes()
        times = {} if path == TRANSLATIONS_ROUTE else {"timestamp_granularities[]": "segment"}
        assert gateway.sent == [{"model": "able-listener", "response_format": "verbose_json"} | times]

    async def test_without_the_ability_there_is_no_choice(self, page: Page) -> None:
        with served(front(able=True, routes={"disabled": [TRANSLATIONS_ROUTE]})) as address:
            await sign_in(page, address, LOCAL_KEY, "transcriptions")
            await expect(page.get_by_role("button", name="Write down")).to_be_visible()
            await expect(page.get_by_role("radio")).to_have_count(0)


class TestImages:
    async def test_an_image_is_changed_with_its_partial_images(self, page: Page) -> None:
        gateway = ScriptedGateway(image_stream("image_edit"))
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Change an image").check()
            await choose(page, "boat.png")
            await expect(page.get_by_role("img", name="The image to begin with")).to_be_visible()
            await expect(page.get_by_text("boat.png, 64x48")).to_be_visible()
            await page.get_by_label("Prompt").fill("a red boat")
            await page.get_by_label("Strength").fill("0.5")
            await page.get_by_role("button", name="Draw").click()
            await expect(page.get_by_role("img", name="a red boat")).to_be_visible()
            await expect(page.locator(".film img")).to_have_count(1)
            await page.locator(".result").get_by_role("button", name="Python").click()
            for part in ("client.images.edit(", 'image=open("boat.png", "rb")', 'extra_body={"strength": 0.5}'):
                await expect(page.locator(".result pre")).to_contain_text(part)
        assert gateway.paths == [EDITS_ROUTE]
        assert gateway.sent == [
            {
                "model": "able-painter", "prompt": "a red boat", "image": PNG, "stream": "true", "strength": "0.5",
                "partial_images": "3",
            }
        ]  # fmt: skip

    async def test_what_is_painted_is_transparent_in_the_mask(self, page: Page) -> None:
        gateway = ScriptedGateway(image_stream("image_edit"), image_stream("image_edit"))
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Change an image").check()
            await choose(page, "boat.png")
            await page.get_by_label("Prompt").fill("a red boat")
            mask = page.get_by_role("application", name="Mask")
            box = await mask.bounding_box()
            assert box is not None
            await page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
            await page.mouse.down()
            await page.mouse.up()
            async with page.expect_download() as download:
                await page.get_by_role("button", name="Save mask").click()
            saved = (await (await download.value).path()).read_bytes()
            await page.get_by_role("button", name="Draw").click()
            await expect(page.locator(".result dl")).to_have_count(1)
            await page.get_by_role("button", name="Clear mask").click()
            await page.get_by_role("button", name="Draw").click()
            await expect(page.locator(".result dl")).to_have_count(2)
        painted = alpha(gateway.sent[0]["mask"])
        assert painted.size == SIDES
        assert (painted.getpixel((16, 24)), painted.getpixel((48, 24)), painted.getpixel((0, 0))) == (0, 255, 255)
        assert saved == gateway.sent[0]["mask"]
        assert "mask" not in gateway.sent[1]

    async def test_a_mask_is_painted_with_keys(self, page: Page) -> None:
        gateway = ScriptedGateway(image_stream("image_edit"))
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Change an image").check()
            await choose(page, "boat.png")
            await page.get_by_label("Prompt").fill("a red boat")
            await page.get_by_role("application", name="Mask").focus()
            for key in ("Space", *["ArrowUp"] * 5, *["Shift+ArrowRight"] * 5):
                await page.keyboard.press(key)
            await page.get_by_role("button", name="Draw").click()
            await expect(page.locator(".result dl")).to_have_count(1)
        painted = alpha(gateway.sent[0]["mask"])
        middle, on_the_way, drawn = (painted.getpixel(place) for place in ((32, 24), (32, 17), (40, 10)))
        assert (middle, on_the_way, drawn) == (0, 255, 0)

    async def test_a_mask_is_taken_from_a_file(self, page: Page) -> None:
        left = io.BytesIO()
        mask = Image.new("RGBA", SIDES, (0, 0, 0, 255))
        mask.paste((0, 0, 0, 0), (0, 0, 32, 48))
        mask.save(left, "PNG")
        gateway = ScriptedGateway(image_stream("image_edit"))
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Change an image").check()
            await choose(page, "boat.png")
            await page.get_by_label("Prompt").fill("a red boat")
            await choose(page, "photo.png", button="Take a mask from a file")
            await expect(page.get_by_role("alert")).to_contain_text("photo.png: it has no transparent pixels")
            await choose(page, "left.png", left.getvalue(), "Take a mask from a file")
            await page.get_by_role("button", name="Draw").click()
            await expect(page.locator(".result dl")).to_have_count(1)
        assert alpha(gateway.sent[0]["mask"]).tobytes() == mask.getchannel("A").tobytes()

    async def test_variations_have_no_prompt_and_come_several_at_once(self, page: Page) -> None:
        answer = {"data": [{"b64_json": B64}] * 2, "output_format": "png", "usage": USAGE}
        gateway = ScriptedGateway([orjson.dumps(answer)])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Vary an image").check()
            await choose(page, "boat.png")
            await expect(page.get_by_label("Prompt")).to_be_hidden()
            await expect(page.get_by_role("application", name="Mask")).to_be_hidden()
            await page.get_by_label("How many").fill("2")
            await page.get_by_role("button", name="Draw").click()
            await expect(page.get_by_role("img", name="Variation")).to_have_count(2)
        assert gateway.paths == [VARIATIONS_ROUTE]
        assert gateway.sent == [{"model": "able-painter", "image": PNG, "n": "2"}]

    async def test_an_image_is_dropped_in_and_removed(self, page: Page) -> None:
        gateway = ScriptedGateway()
        drop = """([area, content]) => {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            area.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Change an image").check()
            area = await page.get_by_role("group", name="Image", exact=True).element_handle()
            await page.evaluate(drop, [area, B64])
            await expect(page.get_by_text("dropped.png, 64x48")).to_be_visible()
            await page.get_by_role("button", name="Remove image").click()
            await expect(page.get_by_role("img", name="The image to begin with")).to_be_hidden()
            await expect(page.get_by_role("button", name="Choose an image")).to_be_focused()
            await page.get_by_label("Prompt").fill("a red boat")
            await page.get_by_role("button", name="Draw").click()
            await expect(page.get_by_role("alert")).to_contain_text("There is no image yet.")
        assert gateway.sent == []

    async def test_a_model_that_only_draws_from_prompts_offers_nothing_else(self, page: Page) -> None:
        gateway = ScriptedGateway(image_stream("image_generation"))
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Change an image").check()
            await page.get_by_role("combobox", name="Model").select_option("plain-painter")
            await expect(page.get_by_role("radio")).to_have_count(0)
            await expect(page.get_by_role("group", name="Image", exact=True)).to_be_hidden()
            await page.get_by_label("Prompt").fill("a boat")
            await page.get_by_role("button", name="Draw").click()
            await expect(page.locator(".result dl")).to_have_count(1)
        assert gateway.paths == [IMAGES_ROUTE]

    async def test_a_file_that_is_no_image_is_refused_by_name(self, page: Page) -> None:
        with served(front(able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "images")
            await page.get_by_role("radio", name="Vary an image").check()
            await choose(page, "broken.png", b"no image")
            await expect(page.get_by_role("alert")).to_contain_text("broken.png: this browser cannot show it.")


class TestTokens:
    async def test_tokens_of_a_conversation_are_counted_before_it_is_sent(self, page: Page) -> None:
        counted = orjson.dumps({"count": 1234, "tokens": []})
        gateway = ScriptedGateway([counted], [delta("stop", content="Hello."), DONE])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "chat")
            await page.get_by_label("System prompt").fill("Be brief.")
            await page.get_by_label("Message").fill("Hi")
            await page.get_by_role("button", name="Count tokens").click()
            await expect(page.get_by_label("Tokens", exact=True)).to_have_text("1,234 tokens of 32,768")
            await page.get_by_label("Message").press("Enter")
            await expect(page.get_by_label("Tokens", exact=True)).to_be_empty()
        assert gateway.paths[0] == TOKENIZE_ROUTE
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert gateway.sent[0] == {"model": "able-chat", "messages": messages}

    async def test_those_of_a_response_are_counted_by_its_own_route(self, page: Page) -> None:
        gateway = ScriptedGateway([orjson.dumps({"input_tokens": 7})])
        with served(front(gateway=gateway, able=True)) as address:
            await sign_in(page, address, LOCAL_KEY, "responses")
            await page.get_by_label("Message").fill("Hi")
            await page.get_by_role("button", name="Count tokens").click()
            await expect(page.get_by_label("Tokens", exact=True)).to_have_text("7 tokens of 32,768")
        assert gateway.paths == ["/v1/responses/input_tokens"]
        assert gateway.sent == [{"model": "able-chat", "input": [{"role": "user", "content": "Hi"}]}]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_an_image_with_its_mask_and_a_ranking_fit_the_screen_and_can_be_read(
    page: Page, scheme: Any, width: int
) -> None:
    results = [{"index": 0, "relevance_score": 0.9}]
    gateway = ScriptedGateway([orjson.dumps({"results": results, "usage": USAGE})], image_stream("image_edit"))
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    with served(front(gateway=gateway, able=True)) as address:
        await sign_in(page, address, LOCAL_KEY, "rerank")
        await page.get_by_role("button", name="Rerank").click()
        await page.get_by_role("list", name="Documents, the best first").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate(CHECKS) == {"nameless": [], "pale": []}
        await page.goto(f"{address}/#/images")
        await page.get_by_role("radio", name="Change an image").check()
        await choose(page, "boat.png")
        await page.get_by_label("Prompt").fill("a red boat")
        await page.get_by_role("button", name="Draw").click()
        await page.get_by_role("img", name="a red boat").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate(CHECKS) == {"nameless": [], "pale": []}
