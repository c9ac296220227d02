"""Images of chat and responses before any engine sees them: what is fetched, what is refused, what is measured."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from app.config.limits import InputImages
from app.gateway import input_images
from app.gateway.input_images import ImageLoader
from app.parameters.parts import ImageSlot
from contract.errors import ApiError
from tests.sample_images import IMAGE_BOUNDS, PNG, TOO_LARGE, TOO_MANY_PIXELS, ImageServer, blank, data_url, image

LOOPBACK: dict[str, Any] = {"allowed_networks": ["127.0.0.0/8", "::1/128"]}


@pytest.fixture(scope="module")
def server() -> Iterator[ImageServer]:
    with ImageServer() as server:
        yield server


async def load(*urls: str, total: int = 1_000_000, **bounds: Any) -> list[str]:
    holders = [{"url": url} for url in urls]
    slots = [ImageSlot(holder, "url", f"images.{index}") for index, holder in enumerate(holders)]
    await ImageLoader(InputImages.model_validate(IMAGE_BOUNDS | bounds), total).load(slots)
    return [holder["url"] for holder in holders]


async def fault(*urls: str, **bounds: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await load(*urls, **bounds)
    return caught.value


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_a_data_url_passes_unchanged(form: str) -> None:
    url = data_url(image(form=form), form.lower())
    assert await load(url) == [url]


@pytest.mark.parametrize("form", ["BMP", "TIFF", "ICO", "PPM"])
async def test_other_formats_are_refused(form: str) -> None:
    error = await fault(data_url(image(form=form)))
    assert (error.status, error.code, error.param) == (422, "invalid_image", "images.0")
    assert "PNG, JPEG, WebP or GIF" in error.message


@pytest.mark.parametrize("content", [b"", b"no image", PNG[:20], b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
async def test_bytes_that_are_no_image_are_unreadable(content: bytes) -> None:
    assert (await fault(data_url(content))).code == "invalid_image"


async def test_text_that_is_not_base64_is_unreadable() -> None:
    error = await fault("data:image/png;base64,!!!!")
    assert (error.status, error.code) == (422, "invalid_image")
    assert "base64" in error.message


async def test_too_many_bytes() -> None:
    error = await fault(data_url(TOO_LARGE))
    assert (error.status, error.code) == (413, "request_too_large")
    assert str(IMAGE_BOUNDS["max_bytes"]) in error.message


async def test_too_many_pixels_in_few_bytes() -> None:
    error = await fault(data_url(TOO_MANY_PIXELS))
    assert (error.status, error.code) == (422, "invalid_image")
    assert "250000 pixels" in error.message


async def test_too_many_pixels_in_all_images_together(server: ImageServer) -> None:
    inline, remote = data_url(image(400, 500)), server.url("/good.png")
    bounds = {"max_total_pixels": 403_072, "allowed_domains": [server.host], **LOOPBACK}
    assert len(await load(inline, inline, remote, **bounds)) == 3
    error = await fault(inline, remote, inline, remote, **bounds)
    assert (error.status, error.code, error.param) == (422, "invalid_image", "images.3")
    assert "more than 403072 pixels" in error.message


async def test_two_of_the_largest_images_are_legal_but_not_three() -> None:
    largest = data_url(blank(10_000, 5_000))
    bounds = InputImages().model_dump()
    assert len(await load(largest, largest, **bounds)) == 2
    assert (await fault(largest, largest, largest, **bounds)).param == "images.2"


async def test_measuring_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(input_images, "measure", lambda _: released.wait(60))
    error = await fault(data_url(PNG), measure_timeout_s=0.1)
    released.set()
    assert (error.status, error.code, error.retry_after) == (503, "overloaded", 5)


async def test_too_many_images() -> None:
    url = data_url(PNG)
    assert len(await load(*[url] * 4)) == 4
    error = await fault(*[url] * 5)
    assert (error.status, error.param) == (400, "images.4")
    assert "5 images; 4 are legal" in error.message


async def test_a_url_of_an_allowed_host_becomes_a_data_url(server: ImageServer) -> None:
    assert await load(server.url("/good.png"), allowed_domains=[server.host], **LOOPBACK) == [data_url(PNG)]


async def test_images_of_one_request_keep_their_places(server: ImageServer) -> None:
    inline = data_url(image(20, 20))
    urls = await load(server.url("/good.png"), inline, allowed_domains=[server.host], **LOOPBACK)
    assert urls == [data_url(PNG), inline]


async def test_no_host_is_allowed_unless_it_is_named(server: ImageServer) -> None:
    before = len(server.requested)
    for url in (server.url("/good.png"), "https://example.org/a.png"):
        error = await fault(url, **LOOPBACK)
        assert (error.status, error.code) == (400, "invalid_image_url")
    assert len(server.requested) == before


@pytest.mark.parametrize(
    ("domain", "url", "legal"),
    [
        ("img.example.org", "https://img.example.org/a.png", True),
        ("img.example.org", "https://IMG.example.org./a.png", True),
        ("IMG.example.org", "https://img.example.org/a.png", True),
        ("img.example.org", "http://img.example.org:80/a.png", True),
        ("img.example.org", "https://img.example.org:80/a.png", False),
        ("img.example.org", "https://img.example.org:8443/a.png", False),
        ("img.example.org:8443", "https://img.example.org:8443/a.png", True),
        ("img.example.org", "https://a.img.example.org/a.png", False),
        ("img.example.org", "https://img.example.org.evil.net/a.png", False),
        ("img.example.org", "https://evil.net/img.example.org", False),
        ("img.example.org", "https://img.example.org@evil.net/a.png", False),
        ("img.example.org", "https://evil.net#img.example.org", False),
        ("*.example.org", "https://a.example.org/a.png", True),
        ("*.example.org", "https://a.b.example.org/a.png", True),
        ("*.example.org", "https://example.org/a.png", False),
        ("*.example.org", "https://evilexample.org/a.png", False),
    ],
)
def test_which_hosts_a_domain_allows(domain: str, url: str, legal: bool) -> None:
    loader = ImageLoader(InputImages.model_validate({"allowed_domains": [domain]}), 1000)
    slot = ImageSlot({"url": url}, "url", "image")
    with nullcontext() if legal else pytest.raises(ApiError, match=r"not fetch from|a user"):
        loader._target(slot)


@pytest.mark.parametrize(
    "url",
    ["", "cat.png", "file:///etc/passwd", "ftp://img.example.org/a.png", "//img.example.org/a.png", "https://",
     "https://user:secret@img.example.org/a.png", "https://img.example.org:0x50/a.png", "http://[::1/a.png",
     "data:text/html;base64,aGk=", "data:image/png,raw", "javascript:alert(1)", "https://img.example.org:99999/"],
)  # fmt: skip
async def test_what_is_no_url_of_an_image(url: str) -> None:
    error = await fault(url, allowed_domains=["img.example.org"])
    assert (error.status, error.code) == (400, "invalid_image_url")
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
     "240.0.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1"],
)  # fmt: skip
def test_private_addresses_are_not_connected_to(address: str) -> None:
    guard = ImageLoader(InputImages(), 1000)._guarded_socket
    with pytest.raises(OSError, match="not a public address"):
        guard((2, 1, 6, "", (address, 443)))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_public_addresses_are(address: str) -> None:
    ImageLoader(InputImages(), 1000)._guarded_socket((2, 1, 6, "", (address, 443))).close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_an_allowed_name_at_a_private_address_is_not_asked(server: ImageServer, name: str) -> None:
    before = len(server.requested)
    error = await fault(f"http://{name}:{server.port}/good.png", allowed_domains=[f"{name}:{server.port}"])
    assert (error.status, error.code) == (400, "invalid_image_url")
    assert len(server.requested) == before


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/moved.png", 400, "answered 302"),
        ("/gone.png", 400, "answered 404"),
        ("/slow.png", 400, "did not answer in 2 seconds"),
        ("/large.png", 413, "larger than is legal"),
        ("/text.png", 422, "must be a PNG"),
    ],
)
async def test_what_an_allowed_host_answers(server: ImageServer, path: str, status: int, words: str) -> None:
    error = await fault(server.url(path), allowed_domains=[server.host], **LOOPBACK)
    assert error.status == status
    assert words in error.message
    assert error.param == "images.0"


async def test_fetched_images_share_one_bound(server: ImageServer) -> None:
    urls = [server.url("/good.png")] * 4
    allowed = {"allowed_domains": [server.host], **LOOPBACK}
    assert len(await load(*urls, total=4 * len(PNG), **allowed)) == 4
    assert (await fault(*urls, total=4 * len(PNG) - 1, **allowed)).code == "request_too_large"


async def test_a_host_that_is_not_there(unused_tcp_port: int) -> None:
    host = f"127.0.0.1:{unused_tcp_port}"
    error = await fault(f"http://{host}/a.png", allowed_domains=[host], **LOOPBACK)
    assert (error.status, error.code) == (400, "invalid_image_url")
    assert "127.0.0.1" not in error.message
