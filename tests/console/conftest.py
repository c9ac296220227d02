"""Headless Chromium: Debian's own, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from tests.console.stand_in import front, served
from tests.sample_images import PNG

# Where it is set, the browser must be there: nothing is skipped.
CHROMIUM = os.environ.get("PORTICO_TEST_BROWSER") or shutil.which("chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",  # a microphone that beeps
]  # fmt: skip
OWN_SCHEMES = ("data:", "blob:")
WAIT_MS = 60_000
# A model's answer is waited for by `expect`, which has a time of its own: 5 s, which a busy machine needs for an image.
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed on this machine; on Debian: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of its own. It may break no rule of its Content-Security-Policy, raise nothing, and call nobody else."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)

    def look(request: Request) -> None:
        host = urlsplit(request.url).hostname
        if host != "127.0.0.1" and not request.url.startswith(OWN_SCHEMES):
            faults.append(f"requested {request.url}")

    page.on("request", look)
    yield page
    await context.close()
    assert faults == []


@pytest.fixture(scope="session")
def stand_in() -> Iterator[str]:
    """The address of a console over models in every state."""
    with served(front()) as address:
        yield address


async def sign_in(page: Page, address: str, key: str, view: str = "") -> None:
    """Open the page, type the key in, and go to a view."""
    await page.goto(address)
    await page.get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("link", name="My key").wait_for()
    if view:
        await page.goto(f"{address}/#/{view}")


async def choose(page: Page, name: str, content: bytes = PNG, button: str = "Choose an image") -> None:
    """Choose a file by one of the buttons that ask for an image."""
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name=button).click()
    await (await chooser.value).set_files({"name": name, "mimeType": "image/png", "buffer": content})
