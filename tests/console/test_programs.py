"""The request of an answer as a program: what is copied sends what the page has sent, in each language."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from playwright.async_api import Page, expect

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.console.conftest import choose, sign_in
from tests.console.scripted import B64, DONE, USAGE, ScriptedGateway, image_stream, text
from tests.console.stand_in import front, served
from tests.recordings import encoded, voice
from tests.sample_images import PNG

VOICE = encoded(voice(0.2), "wav")
PACKAGES = PROJECT_FOLDER / "tests" / "clients" / "javascript" / "node_modules"
LANGUAGES = {
    "curl": ("bash", "-c"),
    "Python": (sys.executable, "-c"),
    "JavaScript": ("node", "--input-type=module", "-e"),
}


@dataclass(frozen=True)
class Task:
    """One that a person does: where, how, with which button; the service's answer, and what a program makes of it."""

    view: str
    fill: Callable[[Page], Awaitable[None]]
    button: str
    answer: list[bytes]
    prints: str = ""
    writes: str = ""


async def ranking(page: Page) -> None:
    await page.get_by_label("Documents, one a line").fill("A 'small' ship.\nA house.")


async def completion(page: Page) -> None:
    await page.get_by_label("Prompt").fill('Say "hi"\nit\'s $HOME')
    await page.get_by_label("Text after it").fill("the end")
    await page.get_by_text("Sampling").click()
    await page.get_by_label("Top p").fill("0.5")


async def drawing(page: Page) -> None:
    await page.get_by_label("Prompt").fill("a boat")
    await page.get_by_label("Seed").fill("7")


async def edit(page: Page) -> None:
    await page.get_by_role("radio", name="Change an image").check()
    await choose(page, "boat.png")
    await page.get_by_label("Strength").fill("0.5")
    await drawing(page)


async def variations(page: Page) -> None:
    await page.get_by_role("radio", name="Vary an image").check()
    await choose(page, "boat.png")
    await page.get_by_label("How many").fill("2")
    await page.get_by_label("Seed").fill("7")


async def recording(page: Page) -> None:
    await page.get_by_label("Audio file").set_input_files(
        {"name": "voice.wav", "mimeType": "audio/wav", "buffer": VOICE}
    )
    await page.get_by_label("Language").fill("fr")


async def translation(page: Page) -> None:
    await page.get_by_role("radio", name="Translated into English").check()
    await recording(page)


WRITTEN = [
    orjson.dumps(
        {
            "text": "Hi.", "language": "english", "duration": 1.0, "usage": {"seconds": 1},
            "segments": [{"id": 0, "start": 0.0, "end": 1.0, "text": "Hi."}],
        }
    )
]  # fmt: skip
RANKED = [orjson.dumps({"results": [{"index": 1, "relevance_score": 0.75}], "usage": USAGE})]
VARIED = [orjson.dumps({"created": 1, "data": [{"b64_json": B64}] * 2, "usage": USAGE})]
TASKS = {
    "rerank": Task("rerank", ranking, "Rerank", RANKED, prints="0.75 A house."),
    "completion": Task("completions", completion, "Complete", [text("hi ", "stop"), DONE], prints="hi "),
    "generation": Task("images", drawing, "Draw", image_stream("image_generation"), writes="image.png"),
    "edit": Task("images", edit, "Draw", image_stream("image_edit"), writes="image.png"),
    "variations": Task("images", variations, "Draw", VARIED, writes="image-2.png"),
    "transcription": Task("transcriptions", recording, "Write down", WRITTEN, prints="Hi."),
    "translation": Task("transcriptions", translation, "Write down", WRITTEN, prints="Hi."),
}


async def run(language: str, program: str, folder: Path) -> str:
    """What a program prints, in a folder with the files that it names."""
    command = LANGUAGES[language]
    process = await asyncio.create_subprocess_exec(
        *command, program, cwd=folder, env=os.environ | {"OPENAI_API_KEY": LOCAL_KEY}, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, program
    return printed.decode()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TASKS)
async def test_what_is_copied_sends_what_the_page_sent(page: Page, tmp_path: Path, name: str, language: str) -> None:
    if shutil.which(LANGUAGES[language][0]) is None:
        pytest.skip(f"{LANGUAGES[language][0]} is not installed on this machine")
    (tmp_path / "boat.png").write_bytes(PNG)
    (tmp_path / "voice.wav").write_bytes(VOICE)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    task = TASKS[name]
    gateway = ScriptedGateway(task.answer, task.answer)
    with served(front(gateway=gateway, able=True)) as address:
        await sign_in(page, address, LOCAL_KEY, task.view)
        await task.fill(page)
        await page.get_by_role("button", name=task.button).click()
        await expect(page.locator(".result dl")).to_contain_text("Total")
        await page.locator(".result").get_by_role("button", name=language).click()
        program = await page.locator(".result pre").text_content()
        assert program
        assert LOCAL_KEY not in program
        printed = await run(language, program, tmp_path)
    assert gateway.paths[0] == gateway.paths[1]
    sent = {name.replace("[]", ""): value for name, value in gateway.sent[0].items()}
    assert {name.replace("[]", ""): value for name, value in gateway.sent[1].items()} == sent
    if language != "curl":
        assert task.prints in printed
        assert not task.writes or (tmp_path / task.writes).read_bytes() == PNG
